// Command preview writes a page that shows messages as a person would see them in WeCom and Slack, from the payloads that the
// providers are sent: what is wrong there looks wrong here.
//
//	go run ./chat/preview FOLDER PAGE
//
// FOLDER has a file <provider>-<language>.json for each column: a list of {"scene": name, "payload": what is sent}. The page needs no
// network.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strings"
)

//go:embed page.html
var page string

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: preview FOLDER PAGE")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(os.Args[2])
}

// write renders the files of a folder into a page.
func write(folder, to string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s has no files of messages", folder)
	}
	columns := map[string]json.RawMessage{}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if !json.Valid(body) {
			return fmt.Errorf("%s is no JSON", file)
		}
		columns[strings.TrimSuffix(filepath.Base(file), ".json")] = body
	}
	t, err := template.New("page").Parse(page)
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	if err := t.Execute(f, columns); err != nil {
		_ = f.Close() // the first error counts
		return err
	}
	return f.Close()
}
