// Command forward is the way from a pod to this machine, in two parts: in a pod, and on its node, to which the cluster's launcher
// brings what listens on this machine's loopback.
//
//	forward LISTEN=TARGET...    each host:port
package main

import (
	"io"
	"log"
	"net"
	"os"
	"strings"
)

func main() {
	for _, arg := range os.Args[1:] {
		listen, target, ok := strings.Cut(arg, "=")
		if !ok {
			log.Fatalf("%q is not LISTEN=TARGET", arg)
		}
		l, err := net.Listen("tcp", listen)
		if err != nil {
			log.Fatal(err)
		}
		go func() { // until the process ends
			for {
				c, err := l.Accept()
				if err != nil {
					log.Fatal(err)
				}
				go forward(c.(*net.TCPConn), target)
			}
		}()
	}
	select {}
}

// forward copies both ways, each until its end, and passes that on.
func forward(near *net.TCPConn, target string) {
	defer near.Close()
	c, err := net.Dial("tcp", target)
	if err != nil {
		log.Print(err)
		return
	}
	far := c.(*net.TCPConn)
	defer far.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(far, near) // whatever ends it, the other side is told
		_ = far.CloseWrite()
	}()
	_, _ = io.Copy(near, far)
	_ = near.CloseWrite()
	<-done
}
