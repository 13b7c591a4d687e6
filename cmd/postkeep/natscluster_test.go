package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// natsNode is one server of a cluster, a process. Others and clients reach it through gates only.
type natsNode struct {
	name, store   string
	client, route string // where it listens
	monitor       string
	config        string
	clients       *gate
	routes        map[*natsNode]*gate // by who dials
	process       *exec.Cmd
	log           bytes.Buffer // read after the process has ended
	gates         []*gate      // of both directions
	t             *testing.T
	program       string
	ended         bool
}

// gate forwards TCP connections until it is shut: then what is open stays open and carries nothing, as when a cable
// is pulled, until it is opened again.
type gate struct {
	net.Listener
	target string
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	shut  chan struct{} // closed while nothing passes; guarded by mu
	open  chan struct{} // closed when it does again; guarded by mu
}

func startGate(t *testing.T, target string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Listener: l, target: target, shut: make(chan struct{}), open: make(chan struct{})}
	close(g.open)
	g.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.wg.Go(func() { g.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		g.set(true)
		g.drop()
		g.wg.Wait()
	})
	return g
}

// set opens or shuts the gate. What was held back is dropped when it opens.
func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if !open {
			g.open = make(chan struct{})
			close(g.shut)
		}
	default:
		if open {
			close(g.open)
			g.shut = make(chan struct{})
		}
	}
}

func (g *gate) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		_ = c.Close()
	}
	g.conns = nil
}

// passes waits while the gate is shut, and reports false if it was.
func (g *gate) passes() bool {
	g.mu.Lock()
	shut, open := g.shut, g.open
	g.mu.Unlock()
	select {
	case <-shut:
		<-open
		return false
	default:
		return true
	}
}

func (g *gate) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	if !g.passes() {
		return
	}
	s, err := net.Dial("tcp", g.target)
	if err != nil {
		return
	}
	g.mu.Lock()
	g.conns = append(g.conns, c, s)
	g.mu.Unlock()
	var wg sync.WaitGroup
	forward := func(to, from net.Conn) {
		defer func() { _, _ = to.Close(), from.Close() }()
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if !g.passes() || err != nil {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	wg.Go(func() { forward(s, c) })
	wg.Go(func() { forward(c, s) })
	wg.Wait()
}

// freeAddr is an address of loopback at which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// startCluster starts three servers, each a process, and returns them with the URL for clients.
func startCluster(t *testing.T) (nodes []*natsNode, url string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "nats-server")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	for i := range 3 {
		n := &natsNode{
			t: t, program: program, name: fmt.Sprint("n", i), store: filepath.Join(dir, fmt.Sprint("store", i)),
			client: freeAddr(t), route: freeAddr(t), monitor: freeAddr(t), routes: map[*natsNode]*gate{},
		}
		n.clients = startGate(t, n.client)
		n.gates = []*gate{n.clients}
		nodes = append(nodes, n)
	}
	var urls []string
	for _, n := range nodes {
		urls = append(urls, "nats://"+n.clients.Addr().String())
		for _, other := range nodes {
			if other != n {
				g := startGate(t, n.route)
				n.routes[other] = g
				n.gates, other.gates = append(n.gates, g), append(other.gates, g)
			}
		}
	}
	for _, n := range nodes {
		var routes []string
		for _, other := range nodes {
			if other != n {
				routes = append(routes, fmt.Sprintf("%q", "nats://"+other.routes[n].Addr().String()))
			}
		}
		n.config = filepath.Join(dir, n.name+".conf")
		content := fmt.Sprintf(`server_name: %s
listen: %q
http: %q
client_advertise: %q
ping_interval: "5s"
jetstream { store_dir: %q }
cluster { name: test, listen: %q, no_advertise: true, routes: [%s], pool_size: -1 }
`, n.name, n.client, n.monitor, n.clients.Addr().String(), n.store, n.route, strings.Join(routes, ", "))
		if err := os.WriteFile(n.config, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		n.start()
		t.Cleanup(n.kill)
	}
	wait(t, "the cluster to have a leader", func() bool {
		return nodes[0].get("/jsz").MetaCluster.Leader != "" && nodes[0].get("/jsz").MetaCluster.Size == 3
	})
	return nodes, strings.Join(urls, ",")
}

func (n *natsNode) start() {
	n.t.Helper()
	n.process = exec.Command(n.program, "-c", n.config)
	n.process.Stderr = &n.log
	if err := n.process.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.ended = false
}

func (n *natsNode) kill() {
	if n.ended {
		return
	}
	n.ended = true
	_ = n.process.Process.Kill()
	_ = n.process.Wait()
	if n.t.Failed() {
		lines := strings.Split(n.log.String(), "\n")
		n.t.Logf("%s: ...\n%s", n.name, strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
}

func (n *natsNode) signal(sig os.Signal) {
	n.t.Helper()
	if err := n.process.Process.Signal(sig); err != nil {
		n.t.Fatal(err)
	}
}

// jsz is what the monitoring port says of JetStream.
type jsz struct {
	MetaCluster struct {
		Leader string `json:"leader"`
		Size   int    `json:"cluster_size"`
	} `json:"meta_cluster"`
	Accounts []struct {
		Streams []struct {
			Name    string `json:"name"`
			Cluster struct {
				Leader   string `json:"leader"`
				Replicas []struct {
					Current bool `json:"current"`
				} `json:"replicas"`
			} `json:"cluster"`
		} `json:"stream_detail"`
	} `json:"account_details"`
}

func (n *natsNode) get(path string) (out jsz) {
	client := http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get("http://" + n.monitor + path)
	if err != nil {
		return out
	}
	defer func() { _ = resp.Body.Close() }()
	defer client.CloseIdleConnections()
	data, err := io.ReadAll(resp.Body)
	if err != nil || json.Unmarshal(data, &out) != nil {
		return jsz{}
	}
	return out
}

// leader is the node that leads the stream of messages.
func leader(t *testing.T, nodes []*natsNode) (found *natsNode) {
	t.Helper()
	wait(t, "the stream to have a leader", func() bool {
		for _, n := range nodes {
			for _, account := range n.get("/jsz?accounts=true&streams=true").Accounts {
				for _, s := range account.Streams {
					if strings.HasSuffix(s.Name, "MAIL_s0") && s.Cluster.Leader == n.name {
						found = n
						return true
					}
				}
			}
		}
		return false
	})
	return found
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("waited a minute for %s", what)
}

// clusterFaults are what happens to the leader during a poll; each returns what ends it.
var clusterFaults = []struct {
	name        string
	short, full time.Duration
	strike      func(n *natsNode)
	end         func(n *natsNode)
}{
	{"killed", time.Second, 10 * time.Second, (*natsNode).kill, (*natsNode).start},
	{"wiped", 0, 0, func(n *natsNode) {
		n.kill()
		if err := os.RemoveAll(n.store); err != nil {
			n.t.Fatal(err)
		}
	}, (*natsNode).start},
	{"paused", 3 * time.Second, 30 * time.Second, func(n *natsNode) { n.signal(syscall.SIGSTOP) }, func(n *natsNode) { n.signal(syscall.SIGCONT) }},
	{"cut off", 3 * time.Second, time.Minute, func(n *natsNode) {
		for _, g := range n.gates {
			g.set(false)
		}
	}, func(n *natsNode) {
		for _, g := range n.gates {
			g.set(true)
		}
	}},
}
