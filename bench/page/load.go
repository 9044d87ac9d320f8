package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/mask"
	"github.com/shipmate-dev/shipmate/pipeline/runlog"
)

// A loaded is how requests went.
type loaded struct {
	p50, p99, max time.Duration
	rate          float64 // requests a second
	cpu           float64 // of the bot for each, in seconds
}

// load asks for a page on as many connections at once for a while, on each again and again. The whole answer is read, and thrown
// away: what asks shares its processors with the bot.
func (s *stand) load(ctx context.Context, path string, atOnce int, span time.Duration) (l loaded, err error) {
	before, err := s.cpu()
	if err != nil {
		return l, err
	}
	times := make([][]time.Duration, atOnce)
	failed := make([]error, atOnce)
	var wg sync.WaitGroup
	began := time.Now()
	for c := range atOnce {
		wg.Go(func() {
			conn, err := s.dial(ctx)
			if err != nil {
				failed[c] = err
				return
			}
			defer func() { _ = conn.Close() }() // everything was read
			request := s.request(path, s.people[c%len(s.people)], "")
			in := bufio.NewReaderSize(conn, 64<<10)
			for time.Since(began) < span && ctx.Err() == nil && failed[c] == nil {
				sent := time.Now()
				failed[c] = once(conn, in, request)
				times[c] = append(times[c], time.Since(sent))
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	after, err := s.cpu()
	if err := errors.Join(append(failed, ctx.Err(), err)...); err != nil {
		return l, err
	}
	all := slices.Concat(times...)
	slices.Sort(all)
	return loaded{all[len(all)/2], all[len(all)*99/100], all[len(all)-1], float64(len(all)) / took.Seconds(), (after - before) / float64(len(all))}, nil
}

func (s *stand) dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
}

func (s *stand) request(path, cookie, header string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n%s\r\n", path, s.address, cookie, header)
}

func once(conn net.Conn, in *bufio.Reader, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, answer.Body)
	if err == nil && (answer.StatusCode != http.StatusOK || n < 10_000) {
		err = fmt.Errorf("%s with %d bytes", answer.Status, n)
	}
	return err
}

// sheet finds the address of the pages' style sheet.
func (s *stand) sheet(ctx context.Context) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/", nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }() // it was read
	body, err := io.ReadAll(answer.Body)
	found := regexp.MustCompile(`/assets/style\.\w+\.css`).Find(body)
	if err == nil && found == nil {
		err = errors.New("the page names no style sheet")
	}
	return string(found), err
}

// A followedLog is how the followers of a log fared.
type followedLog struct {
	p50, p99, last time.Duration // from the writing of a line until a follower had it
	idle, peak     int64         // resident memory of the bot, in bytes
	load           float64       // processors that the bot took
}

// lineMark stands in each line before its number, which has six digits.
const lineMark = "bench line "

// follow has many follow a log while it is written.
func (s *stand) follow(ctx context.Context, o options) (f followedLog, err error) {
	if err := s.setFollowed(ctx, "running"); err != nil {
		return f, err
	}
	log, err := runlog.Create(s.logFile(followed), mask.Mask{})
	if err != nil {
		return f, err
	}
	if f.idle, err = s.memory(); err != nil {
		return f, errors.Join(err, log.Close())
	}
	written := make([]atomic.Int64, o.lines)
	times := make([][]time.Duration, o.follows)
	failed := make([]error, o.follows)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.lines)*o.every+2*time.Minute)
	defer cancel()
	var connected, wg sync.WaitGroup
	for c := range o.follows {
		connected.Add(1)
		wg.Go(func() {
			times[c], failed[c] = s.followOne(ctx, s.people[c%len(s.people)], written, connected.Done)
		})
	}
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { // a peak between two looks is missed
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if now, err := s.memory(); err == nil {
				f.peak = max(f.peak, now)
			}
			select {
			case <-tick.C:
			case <-ended:
				return
			}
		}
	})
	connected.Wait()
	before, err := s.cpu()
	began := time.Now()
	tick := time.NewTicker(o.every)
	for i := range written {
		now := time.Now()
		written[i].Store(now.UnixNano())
		log.Line(now, "build", fmt.Sprintf("#12 [builder 4/7] \x1b[32mRUN\x1b[0m go build ./... %s%06d", lineMark, i))
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	tick.Stop()
	after, err2 := s.cpu()
	f.load = (after - before) / time.Since(began).Seconds()
	err = errors.Join(err, err2, log.Close(), s.setFollowed(ctx, "succeeded"))
	if err != nil {
		cancel()
	}
	wg.Wait()
	close(ended)
	watching.Wait()
	if err := errors.Join(append(failed, err)...); err != nil {
		return f, err
	}
	all := slices.Concat(times...)
	slices.Sort(all)
	f.p50, f.p99, f.last = all[len(all)/2], all[len(all)*99/100], all[len(all)-1]
	return f, nil
}

// followOne follows the log as a browser does until its end, and tells how long each line took.
func (s *stand) followOne(ctx context.Context, cookie string, written []atomic.Int64, connected func()) (times []time.Duration, err error) {
	told := sync.OnceFunc(connected)
	defer told()
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // everything was read
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := conn.Write(s.request("/runs/"+followed+"/log?follow", cookie, "Accept: text/event-stream\r\n")); err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(conn, 16<<10)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("a follower was answered %s", answer.Status)
	}
	told()
	body := bufio.NewReaderSize(answer.Body, 16<<10)
	for {
		line, err := body.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("after %d of %d lines: %w", len(times), len(written), err)
		}
		if bytes.HasPrefix(line, []byte("event: end")) {
			break
		}
		if _, after, ok := bytes.Cut(line, []byte(lineMark)); ok && len(after) >= 6 {
			n := 0
			for _, digit := range after[:6] {
				n = 10*n + int(digit-'0')
			}
			if n != len(times) {
				return nil, fmt.Errorf("after line %d came line %d", len(times)-1, n)
			}
			times = append(times, time.Duration(time.Now().UnixNano()-written[n].Load()))
		}
	}
	if len(times) != len(written) {
		return nil, fmt.Errorf("only %d of %d lines came", len(times), len(written))
	}
	return times, nil
}
