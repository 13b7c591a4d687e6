//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// smallDisk mounts an ext4 file system of so many MiB on a loop device, which only root can do. The file behind it is sparse.
func smallDisk(t *testing.T, mib int64) (dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a loop device takes root")
	}
	image, dir := filepath.Join(t.TempDir(), "disk.img"), t.TempDir()
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(mib << 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir
}

// fill takes the room of a disk until at most so many bytes are left, and returns the file that does so.
func fill(t *testing.T, dir string, leave int64) string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for err == nil && len(block) > 0 {
		var free int64
		if free, err = disk.Free(dir); err != nil || free <= leave {
			break
		}
		block = block[:min(int64(len(block)), max(free-leave, 512))]
		_, err = f.Write(block)
		if errors.Is(err, syscall.ENOSPC) {
			err, block = nil, block[:len(block)/2]
		}
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return f.Name()
}

// siteOnDisk is a site whose data directory is on another disk.
func siteOnDisk(t *testing.T, disk, yaml string) *site {
	t.Helper()
	s := newSite(t, yaml)
	data := filepath.Join(s.dir, "data")
	if err := errors.Join(os.RemoveAll(data), os.Symlink(filepath.Join(disk, "data"), data)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(disk, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.ok("init", s.dir)
	return s
}

// A disk that is full, and one that fills up while mail arrives, lose nothing, and everything that reads works.
func TestFullDiskLosesNothing(t *testing.T) {
	small := smallDisk(t, 400)
	var mail []pop3test.Message
	for _, m := range generated(t, 600) {
		mail = append(mail, pop3test.Bytes(m))
	}
	server := startScripted(t, pop3test.Config{}, mail...)
	s := siteOnDisk(t, small, scriptedYAML(server, ""))
	s.ok("status")
	stays := func(what string) {
		if left, err := server.Messages("sales"); err != nil || len(left) != len(mail) {
			t.Errorf("%s: %d messages on the server (%v), want all %d", what, len(left), err, len(mail))
		}
	}
	for _, free := range []int64{64 << 20, 4 << 10, 0} { // bytes: less than the archive wants, than a commit takes, none
		filler := fill(t, small, free)
		began := len(mail)
		if r := s.run("poll"); r.code == exitDone || r.stdout+r.stderr == "" {
			t.Errorf("poll with %d bytes free of %d messages: exit code %d\n%s%s", free, began, r.code, r.stdout, r.stderr)
		}
		stays(fmt.Sprintf("%d bytes free", free))
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	s.ok("poll")
	if left, err := server.Messages("sales"); err != nil || len(left) != 0 {
		t.Errorf("%d messages on the server (%v)", len(left), err)
	}
	fill(t, small, 0)
	s.readAll("on a full disk", len(mail))
	began := time.Now()
	r := s.run("rebuild", "catalog")
	if took := time.Since(began); took > soon {
		t.Errorf("rebuild catalog on a full disk took %s, exit code %d\n%s%s", took, r.code, r.stdout, r.stderr)
	}
	s.ok("search", "--count", "size:>0")
}

// readAll runs what only reads, and leaves nothing in the temporary directory but the trail.
func (s *site) readAll(where string, messages int) {
	s.t.Helper()
	tmp := s.t.TempDir()
	s.wrap = func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "TMPDIR="+tmp) }
	defer func() { s.wrap = nil }()
	_, id, _ := strings.Cut(s.ok("search", "--limit", "1", "--json", "size:>0"), `"id":"`)
	id = id[:64]
	out := s.t.TempDir()
	for _, c := range []struct {
		want string
		args []string
	}{
		{fmt.Sprint(messages), []string{"search", "--count", "size:>0"}},
		{"From:", []string{"show", id}},
		{"cannot be written to", []string{"status"}},
		{"", []string{"verify"}},
		{"", []string{"verify", "--deep"}},
		{"not signed", []string{"export", "--format", "eml", "--out", out + "/eml"}},
		{"this trail is partial", []string{"audit"}},
	} {
		r := s.run(c.args...)
		if r.code != exitDone && c.args[0] != "status" || !strings.Contains(r.stdout+r.stderr, c.want) { // which has a problem to report
			s.t.Errorf("postkeep %v %s: exit code %d\n%.2000s%.2000s", c.args, where, r.code, r.stdout, r.stderr)
		}
	}
	if files, err := filepath.Glob(out + "/eml/*.eml"); err != nil || len(files) != messages {
		s.t.Errorf("%d messages exported %s (%v), want %d", len(files), where, err, messages)
	}
	left, err := filepath.Glob(tmp + "/*")
	if err != nil {
		s.t.Fatal(err)
	}
	seen := false
	for _, name := range left {
		data, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(filepath.Base(name), "postkeep-trail-") {
			s.t.Errorf("%s stays in the temporary directory (%v)", name, err)
		}
		seen = seen || strings.Contains(string(data), `"type":"view"`) && strings.Contains(string(data), id)
	}
	if !seen {
		s.t.Errorf("the view is in no trail: %v", left)
	}
}

// A read-only medium or snapshot is searched, shown, exported and verified; one whose last owner crashed, too.
func TestReadOnlyMediumIsRead(t *testing.T) {
	small := smallDisk(t, 400)
	var mail []pop3test.Message
	for _, m := range generated(t, 50) {
		mail = append(mail, pop3test.Bytes(m))
	}
	server := startScripted(t, pop3test.Config{}, mail...)
	s := siteOnDisk(t, small, scriptedYAML(server, ""))
	s.ok("poll")
	remount := func(how string) {
		t.Helper()
		if out, err := exec.Command("mount", "-o", "remount,"+how, small).CombinedOutput(); err != nil {
			t.Fatalf("remount: %v\n%s", err, out)
		}
	}
	remount("ro")
	s.readAll("on a read-only medium", len(mail))
	for _, args := range [][]string{{"poll"}, {"rebuild", "index"}, {"rebuild", "catalog"}, {"hold", "place", "--name", "n", "--reason", "r", "--query", "a"}} {
		if r := s.run(args...); r.code != exitFailed || !strings.Contains(r.stderr, "read-only") {
			t.Errorf("postkeep %v on a read-only medium: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
		}
	}
	remount("rw")
	_, stop := s.daemon()
	stop(os.Kill) // leaves a catalog that was not closed
	remount("ro")
	s.readAll("on a medium whose owner was killed", len(mail))
	remount("rw")
}
