package badger

import (
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"go.uber.org/zap"
)

// DefaultMinFreeSpace is what is left free on the disk if nothing else is
// configured.
const DefaultMinFreeSpace = 64 << 20

// Options configures a [Store].
type Options struct {
	// Dir is the directory of the store, on a local file system. It belongs to
	// the store alone, and to one process at a time. It is made with mode 0700
	// if it is not there. Others lose their rights on an existing one if it is
	// empty or holds a store, and it is refused otherwise.
	Dir string

	// SyncWrites puts every write on the disk before it is acknowledged.
	// Without it, a write survives the end of this process at once, however
	// it ends, and a crash of the machine within about a second. Deletions and
	// records that never expire are always on the disk first.
	SyncWrites bool

	// MinFreeSpace is how many bytes are left free on the disk: with less,
	// writes fail with [sessionstore.ErrNoSpace] until there is more. Zero
	// means [DefaultMinFreeSpace]. It is a floor: while Badger may need more to
	// rewrite its tables, more is asked for.
	MinFreeSpace int64

	// Logger gets what the store and Badger have to say; nil for nothing.
	// Badger may name keys, but no values.
	Logger *zap.Logger

	// probe replaces the questions to the operating system in tests.
	probe func(dir string) (room, error)
}

const (
	memTableSize = 8 << 20

	// valueThreshold is the size from which Badger would put a value into the
	// value log. It may be at most 15 % of memTableSize.
	valueThreshold = 1 << 20

	// applicationMagic marks the directory as ours, so that Badger refuses
	// one that another application made.
	applicationMagic = 0x5353
)

// engineOptions returns what Badger is opened with: values stay in the LSM
// tree, so there is no value log to collect, and little memory is used.
func engineOptions(dir string, log badger.Logger) badger.Options {
	o := badger.DefaultOptions(dir).WithLogger(log)
	o.ExternalMagicVersion = applicationMagic
	o.ValueThreshold = valueThreshold

	// Each memtable's arena is allocated in full when it is made. Fewer and
	// smaller ones also bound what has to be written when the disk is full.
	o.MemTableSize = memTableSize
	o.NumMemtables = 2

	// With no more than four tables, Badger has no reason to compact a part of
	// level 0 into itself. That takes a quarter of a gigabyte, and it may drop
	// the mark of a deletion before what was deleted.
	o.NumLevelZeroTables = 2
	o.NumLevelZeroTablesStall = 4
	o.NumCompactors = 2 // one alone is refused
	o.CompactL0OnClose = true
	o.NumVersionsToKeep = 1

	// A compaction allocates twice the size of each table that it makes. Badger
	// would double that size from level to level.
	o.MaxLevels = maxLevels
	o.BaseTableSize = 4 << 20
	o.TableSizeMultiplier = 1

	// The value log is not used, but its file is made and mapped at twice this
	// size.
	o.ValueLogFileSize = 2 << 20

	// Sealed values do not compress, and uncompressed blocks are read from the
	// page cache faster than from Badger's block cache.
	o.Compression = options.None
	o.BlockCacheSize = 0
	o.IndexCacheSize = 0

	// The store locks the key of a write itself, see write.go.
	o.DetectConflicts = false

	// The store syncs by itself, see sync.go: Badger would do it for each
	// transaction alone, in its only writer.
	o.SyncWrites = false

	o.NumGoroutines = 2
	o.MetricsEnabled = false // process-wide variables
	return o
}
