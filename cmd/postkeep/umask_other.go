//go:build !unix

package main

// restrictFiles does nothing: files inherit the access list of their folder.
func restrictFiles() {}
