package session

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// A backup is the same for every store:
//
//	"caddy server_session backup 1\n"
//	for each record: 'r' length of the key(1) of the value(4) last seen(8) expires(8) key value
//	'e' number of records(8) SHA-256 of everything before(32)
//
// Numbers are big endian, times are milliseconds since 1970, no expiry is zero.
// Whatever was lost or changed on the way, the end shows it.
const (
	backupMagic   = "caddy server_session backup "
	backupVersion = "1\n"

	backupRecord     = 'r'
	backupEnd        = 'e'
	backupRecordHead = 1 + 4 + 8 + 8

	// maxBackupValue is far above what a session may be. A damaged length must
	// not have the rest of a backup read into memory.
	maxBackupValue = 16 << 20
)

// ErrBackup means that a file is not a whole, intact backup that this release
// can read.
var ErrBackup = errors.New("not an intact backup")

// keyed is a record with its key.
type keyed struct {
	key string
	sessionstore.Record
}

// backupWriter writes a backup.
type backupWriter struct {
	w       *bufio.Writer
	sum     hash.Hash
	records uint64
	bytes   int64
}

func newBackupWriter(w io.Writer) (*backupWriter, error) {
	b := &backupWriter{w: bufio.NewWriterSize(w, 64<<10), sum: sha256.New()}
	return b, b.write([]byte(backupMagic + backupVersion))
}

func (b *backupWriter) write(p []byte) error {
	b.sum.Write(p)
	b.bytes += int64(len(p))
	_, err := b.w.Write(p)
	return err
}

func (b *backupWriter) add(r *keyed) error {
	if len(r.key) > 255 || len(r.Value) > maxBackupValue {
		return fmt.Errorf("%w: a record of %d bytes", sessionstore.ErrTooLarge, len(r.Value))
	}
	head := append(make([]byte, 0, 1+backupRecordHead+len(r.key)), backupRecord, byte(len(r.key)))
	head = binary.BigEndian.AppendUint32(head, uint32(len(r.Value)))
	head = binary.BigEndian.AppendUint64(head, uint64(millis(r.LastSeen)))
	head = binary.BigEndian.AppendUint64(head, uint64(orZero(r.Expires)))
	b.records++
	return errors.Join(b.write(append(head, r.key...)), b.write(r.Value))
}

func (b *backupWriter) finish() error {
	end := binary.BigEndian.AppendUint64([]byte{backupEnd}, b.records)
	if err := b.write(end); err != nil {
		return err
	}
	if err := b.write(b.sum.Sum(nil)); err != nil {
		return err
	}
	return b.w.Flush()
}

// orZero is the millisecond of t, or zero if t is.
func orZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return millis(t)
}

// backupReader reads a backup. What it returns is not known to be intact before
// it has returned io.EOF.
type backupReader struct {
	r       *bufio.Reader
	sum     hash.Hash
	records uint64
	bytes   int64
}

func newBackupReader(r io.Reader) (*backupReader, error) {
	b := &backupReader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	magic, err := b.read(len(backupMagic))
	if err != nil {
		return nil, err
	}
	if string(magic) != backupMagic {
		return nil, fmt.Errorf("%w: it does not begin as one", ErrBackup)
	}
	version, err := b.read(len(backupVersion))
	if err != nil {
		return nil, err
	}
	if string(version) != backupVersion {
		return nil, fmt.Errorf("%w: its version is not known to this release", ErrBackup)
	}
	return b, nil
}

// read returns the next n bytes. It takes no more memory than the file has
// bytes, whatever n claims.
func (b *backupReader) read(n int) ([]byte, error) {
	var p bytes.Buffer
	p.Grow(min(n, 64<<10))
	_, err := io.CopyN(&p, b.r, int64(n))
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: it ends early, after %d records", ErrBackup, b.records)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a backup: %w", err)
	}
	b.sum.Write(p.Bytes())
	b.bytes += int64(n)
	return p.Bytes(), nil
}

// next returns the next record, or io.EOF after the last one of a backup that
// is intact.
func (b *backupReader) next() (r keyed, err error) {
	kind, err := b.read(1)
	if err != nil {
		return r, err
	}
	switch kind[0] {
	case backupRecord:
	case backupEnd:
		return r, b.end()
	default:
		return r, fmt.Errorf("%w: it is damaged after %d records", ErrBackup, b.records)
	}
	head, err := b.read(backupRecordHead)
	if err != nil {
		return r, err
	}
	key, err := b.read(int(head[0]))
	if err != nil {
		return r, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxBackupValue {
		return r, fmt.Errorf("%w: it is damaged after %d records", ErrBackup, b.records)
	}
	if r.Value, err = b.read(int(size)); err != nil {
		return r, err
	}
	r.key = string(key)
	r.LastSeen = time.UnixMilli(int64(binary.BigEndian.Uint64(head[5:])))
	if ms := int64(binary.BigEndian.Uint64(head[13:])); ms != 0 {
		r.Expires = time.UnixMilli(ms)
	}
	b.records++
	return r, nil
}

func (b *backupReader) end() error {
	count, err := b.read(8)
	if err != nil {
		return err
	}
	want := b.sum.Sum(nil)
	sum, err := b.read(sha256.Size)
	if err != nil {
		return err
	}
	if binary.BigEndian.Uint64(count) != b.records || !bytes.Equal(sum, want) {
		return fmt.Errorf("%w: its checksum is wrong", ErrBackup)
	}
	if _, err := b.r.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows its end", ErrBackup)
	}
	return io.EOF
}
