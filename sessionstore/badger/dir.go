package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// The suffixes of Badger's log files.
const (
	memtableLog = ".mem"
	valueLog    = ".vlog"
)

// ownFiles are Badger's files with fixed names.
var ownFiles = []string{badger.ManifestFilename, badger.KeyRegistryFileName, "DISCARD", "LOCK"}

// filesIn returns the names of the files in dir that end in suffix, in order.
func filesIn(dir, suffix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// prepareDir makes dir, or makes sure that an existing one is for us alone. It
// returns the absolute path.
func prepareDir(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("no directory is given")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", err
		}
		return dir, os.Chmod(dir, 0o700) // whatever the umask is
	case err != nil:
		return "", err
	case !info.IsDir():
		return "", fmt.Errorf("%q is not a directory", dir)
	case runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0:
		return dir, nil
	}
	return dir, tighten(dir, info.Mode().Perm())
}

// tighten takes the rights of others on a directory that is the store's, but
// not on one that was named by mistake.
func tighten(dir string, mode fs.FileMode) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, badger.ManifestFilename)); err != nil {
			return fmt.Errorf("%q holds other files and others can enter it (mode %04o): "+
				"give the store a directory of its own", dir, mode)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("others can enter %q (mode %04o) and that can not be changed: %w", dir, mode, err)
	}
	return nil
}

// protectFiles takes the rights of others on Badger's files in dir, which it
// makes with those that the umask leaves. That others can not enter dir is what
// counts, so errors do not.
func protectFiles(dir string) {
	names, _ := filesIn(dir, "")
	for _, name := range names {
		switch filepath.Ext(name) {
		case memtableLog, valueLog, ".sst":
		default:
			if !slices.Contains(ownFiles, name) {
				continue
			}
		}
		path := filepath.Join(dir, name)
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			os.Chmod(path, 0o600)
		}
	}
}
