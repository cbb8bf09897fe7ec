//go:build !unix

package redis

func (s *server) suspend() { s.t.Skip("this system can not suspend a process") }
func (s *server) resume()  {}
