// Command console bundles the pages of the console: controllers/console/web to controllers/console/dist.
//
//	go -C hack/console run . -root ../..
//
// It installs what package-lock.json names into the cache folder (MILLRACE_CACHE), without running any script of a package,
// checks the types, and bundles with esbuild. The result depends on nothing else, so `make verify` compares it.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"

	"github.com/evanw/esbuild/pkg/api"
)

func main() {
	root := flag.String("root", ".", "folder of the project")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *root); err != nil {
		fmt.Fprintln(os.Stderr, "console:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root string) error {
	web := filepath.Join(root, "controllers", "console", "web")
	work, err := install(ctx, web)
	if err != nil {
		return err
	}
	// Sources stand beside the packages, so that both tools find these, and no path of this machine gets into the result.
	for _, name := range []string{"src", "tsconfig.json"} {
		if err := replace(filepath.Join(web, name), filepath.Join(work, name)); err != nil {
			return err
		}
	}
	check := exec.CommandContext(ctx, filepath.Join("node_modules", ".bin", "tsc"), "--noEmit", "--project", "tsconfig.json")
	check.Dir, check.Stdout, check.Stderr = work, os.Stderr, os.Stderr
	if err := check.Run(); err != nil {
		return fmt.Errorf("check the types: %w", err)
	}
	return bundle(work, filepath.Join(root, "controllers", "console", "dist"))
}

// install installs the packages of the lock file, once for each lock file, and returns the folder.
func install(ctx context.Context, web string) (string, error) {
	lock, err := os.ReadFile(filepath.Join(web, "package-lock.json"))
	if err != nil {
		return "", err
	}
	cache := os.Getenv("MILLRACE_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(base, "millrace")
	}
	sum := sha256.Sum256(lock)
	work := filepath.Join(cache, "console", hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(filepath.Join(work, "installed")); err == nil {
		return work, nil
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return "", errors.New("npm is missing: install Node.js 20 or newer; only who changes the pages of the console needs it")
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
		if err := replace(filepath.Join(web, name), filepath.Join(work, name)); err != nil {
			return "", err
		}
	}
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir, npm.Stdout, npm.Stderr = work, os.Stderr, os.Stderr
	if err := npm.Run(); err != nil {
		return "", fmt.Errorf("npm ci: %w", err)
	}
	return work, os.WriteFile(filepath.Join(work, "installed"), nil, 0o644)
}

// replace copies a file or a folder over what is there.
func replace(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}

// bundle writes dist. The licenses of what is bundled stand in a file of their own, which the script names.
func bundle(work, dist string) error {
	work, err := filepath.Abs(work)
	if err != nil {
		return err
	}
	result := api.Build(api.BuildOptions{
		AbsWorkingDir: work, EntryPoints: []string{"src/main.tsx", "src/main.css"}, Outdir: "out",
		Bundle: true, Format: api.FormatESModule, Target: api.ES2022, Charset: api.CharsetUTF8,
		MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true, LegalComments: api.LegalCommentsNone,
		JSX: api.JSXAutomatic, JSXImportSource: "preact", EntryNames: "assets/[name]", Metafile: true,
		LogLevel: api.LogLevelWarning, Loader: map[string]api.Loader{".svg": api.LoaderDataURL},
	})
	if len(result.Errors) > 0 {
		return fmt.Errorf("%d errors", len(result.Errors))
	}
	licenses, err := licenses(work, result.Metafile)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dist); err != nil {
		return err
	}
	files := map[string][]byte{"licenses.txt": licenses}
	for _, f := range result.OutputFiles {
		name, err := filepath.Rel(filepath.Join(work, "out"), f.Path)
		if err != nil {
			return err
		}
		files[name] = f.Contents
		if filepath.Ext(name) == ".js" || filepath.Ext(name) == ".css" {
			files[name] = append([]byte("/*! Millrace; what is bundled with it: licenses.txt */\n"), f.Contents...)
		}
	}
	for _, name := range []string{"index.html", "icon.svg"} {
		if files[name], err = os.ReadFile(filepath.Join(work, "src", name)); err != nil {
			return err
		}
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		path := filepath.Join(dist, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, files[name], 0o644); err != nil {
			return err
		}
		fmt.Printf("%8d  %s\n", len(files[name]), name)
	}
	parts, err := sizes(result.Metafile)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		fmt.Printf("%8d    of %s\n", parts[name], name)
	}
	return nil
}
