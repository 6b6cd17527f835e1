package unary

import "time"

// drain tells the client to go elsewhere. Streams it begins before it has heard of it are served (s6.8).
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drained != drainNone || c.broken {
		return
	}
	c.drained = drainBegun
	c.out = appendGoAway(c.out, streamIDMax, codeNone, "")
	c.out = appendPing(c.out, 0, drainPing)
	_ = c.flush() // the goroutine that reads finds out
}

// drainLast is called when all streams that will be served are known.
func (c *conn) drainLast() error {
	c.drained = drainLatest
	c.out = appendGoAway(c.out, c.last, codeNone, "")
	c.closeWhenDrained()
	return nil
}

// closeWhenDrained ends a connection on which nothing can happen any more: the write side at once, so that the client
// reads to the end, the rest when the client closes, or soon.
func (c *conn) closeWhenDrained() {
	if c.drained != drainLatest || c.active > 0 || c.broken {
		return
	}
	if c.flush() != nil {
		return
	}
	c.broken = true // nothing more is written
	half, ok := c.net.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.net.SetReadDeadline(time.Now().Add(lingerMax)) != nil {
		c.net.Close()
	}
}

// askAlive sends a ping that has no meaning but its answer.
func (c *conn) askAlive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = appendPing(c.out, 0, [8]byte{})
	_ = c.flush() // the goroutine that reads finds out
}

// watch pings a client that is silent, and breaks off with one that does not answer or does not read.
func (c *conn) watch(now time.Time) {
	since := func(unixNano int64) time.Duration { return now.Sub(time.Unix(0, unixNano)) }
	if began := c.writing.Load(); began != 0 {
		if since(began) > c.server.config.PingTimeout {
			c.breakOff()
		}
		return // the lock is taken
	}
	if !c.mu.TryLock() {
		return
	}
	defer c.mu.Unlock()
	silent := since(c.lastRead.Load())
	switch idle := c.server.config.IdlePing; {
	case c.broken || silent < idle:
		c.pinged = false
	case !c.pinged:
		c.pinged = true
		c.server.running.Go(c.askAlive) // whoever watches must not wait for a client that reads nothing
	case silent > idle+c.server.config.PingTimeout:
		c.breakOff()
	}
}
