package heap

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestLimit(t *testing.T) {
	t.Parallel()
	const configured = 300 << 20
	for name, c := range map[string]struct {
		files       map[string]string
		environment int64
		want        Limit
	}{
		"nothing known":               {nil, math.MaxInt64, Limit{configured, FromConfiguration, 0}},
		"a container":                 {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "209715200\n"}, math.MaxInt64, Limit{188743680, FromCgroup, 209715200}},
		"a large one":                 {map[string]string{"sys/fs/cgroup/memory.max": "1073741824\n"}, math.MaxInt64, Limit{configured, FromConfiguration, 1 << 30}},
		"without a limit":             {map[string]string{"sys/fs/cgroup/memory.max": "max\n"}, math.MaxInt64, Limit{configured, FromConfiguration, 0}},
		"a service of a host":         {map[string]string{"proc/self/cgroup": "0::/a.slice/b.service\n", "sys/fs/cgroup/a.slice/memory.max": "104857600\n", "sys/fs/cgroup/a.slice/b.service/memory.max": "max\n"}, math.MaxInt64, Limit{94371840, FromCgroup, 104857600}},
		"version 1":                   {map[string]string{"proc/self/cgroup": "3:memory:/x\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "104857600\n"}, math.MaxInt64, Limit{94371840, FromCgroup, 104857600}},
		"version 1 without a limit":   {map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, math.MaxInt64, Limit{configured, FromConfiguration, 0}},
		"the operator says":           {map[string]string{"sys/fs/cgroup/memory.max": "209715200\n"}, 1 << 30, Limit{1 << 30, FromEnvironment, 209715200}},
		"what cannot be read as such": {map[string]string{"proc/self/cgroup": "0::\n\n::/", "sys/fs/cgroup/memory.max": "-1\n"}, math.MaxInt64, Limit{configured, FromConfiguration, 0}},
	} {
		root := t.TempDir()
		for file, text := range c.files {
			path := filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := limitFor(configured, c.environment, root); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
