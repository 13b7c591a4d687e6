//go:build !linux

package main

import "time"

func rssAnon() int64 { return 0 }

func cpuTime() time.Duration { return 0 }
