package badger

import (
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// errDamaged means that a file of the database is not as it was written.
var errDamaged = errors.New("damaged; restore a backup, or move the directory away to begin with an empty store")

// checkTable verifies the index of a table, which Badger reads in a goroutine of
// its own; it panics if that makes no sense, and so ends the process. Tables that
// the manifest does not name are the remains of a crash, and go. The index stands
// at the end: index, length of the index (4), checksum, length of the
// checksum (4).
func checkTable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	end := info.Size()
	read := func(n int64) []byte {
		if n < 0 || n > end {
			err = errDamaged
			return nil
		}
		b := make([]byte, n)
		end -= n
		if _, e := io.ReadFull(io.NewSectionReader(f, end, n), b); e != nil {
			err = e
		}
		return b
	}
	length := func() int64 {
		if b := read(4); err == nil {
			return int64(binary.BigEndian.Uint32(b))
		}
		return 0
	}
	checksum := read(length())
	index := read(length())
	if err != nil {
		return err
	}
	var want pb.Checksum
	if proto.Unmarshal(checksum, &want) != nil || len(index) == 0 || y.VerifyChecksum(index, &want) != nil {
		return errDamaged
	}
	return nil
}
