package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
)

// usage is what the store takes on the disk, as far as Badger may soon write
// it again.
type usage struct {
	logs  int64 // write-ahead logs
	level [maxLevels]int64
	base  int64 // of the level that level 0 is compacted into
}

const maxLevels = 7

// demand is how many bytes Badger may need before it frees any: it writes new
// tables before it removes what they are made from. One compactor takes all of
// level 0 with all of the base level, another may take one table with its
// neighbours of a level further down.
func (u usage) demand() int64 {
	return u.logs + memTableSize + u.level[0] + u.base + min(u.total()/16, 64<<20)
}

func (u usage) total() (n int64) {
	for _, size := range u.level {
		n += size
	}
	return n
}

// usageOf asks an open database. It assumes full logs.
func usageOf(db *badger.DB) usage {
	u := usage{logs: 3 * memTableSize}
	for _, l := range db.Levels() {
		u.level[l.Level] = l.Size
		if l.IsBaseLevel {
			u.base = l.Size
		}
	}
	return u
}

// usageIn looks into the directory of one that is not open.
func usageIn(dir string, o badger.Options) (usage, error) {
	var u usage
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return u, nil
	}
	if err != nil {
		return u, err
	}
	defer f.Close()
	manifest, _, err := badger.ReplayManifestFile(f, applicationMagic, o)
	if err != nil {
		return u, fmt.Errorf("%q holds no session store that this version can read: %w", dir, err)
	}
	for id, t := range manifest.Tables {
		path := table.NewFilename(id, dir)
		if err := checkTable(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // which Badger says well
			return u, fmt.Errorf("table %q of the session store: %w", path, err)
		}
		if info, err := os.Stat(path); err == nil {
			u.level[t.Level] += info.Size()
		}
	}
	// The base level is the first that holds anything, or an empty one above
	// it: certainly so above a last level that is larger than a base level is.
	for i, size := range u.level[1:] {
		if size > 0 {
			if i+1 < maxLevels-1 || size < o.BaseLevelSize {
				u.base = size
			}
			break
		}
	}
	logs, err := filesIn(dir, memtableLog)
	// A log file is longer than its contents, which a full memtable bounds.
	u.logs = int64(len(logs)) * memTableSize
	return u, err
}
