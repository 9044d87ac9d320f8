package node

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
)

// writePauseImage writes, as an archive in the form of docker save (Docker Image Specification v1.2), an image named ref of nothing but program.
func writePauseImage(w io.Writer, ref string, program []byte) error {
	var layer bytes.Buffer
	if err := writeTar(&layer, file{"pause", 0o755, program}); err != nil {
		return fmt.Errorf("write the pause image: %w", err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": []string{"/pause"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer.Bytes())}},
	})
	if err != nil {
		return fmt.Errorf("write the pause image: %w", err)
	}
	configName, layerName := digest(config)+".json", digest(layer.Bytes())+"/layer.tar"
	manifest, err := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": []string{ref}, "Layers": []string{layerName}}})
	if err != nil {
		return fmt.Errorf("write the pause image: %w", err)
	}
	err = writeTar(w, file{configName, 0o644, config}, file{layerName, 0o644, layer.Bytes()}, file{"manifest.json", 0o644, manifest})
	if err != nil {
		return fmt.Errorf("write the pause image: %w", err)
	}
	return nil
}

type file struct {
	name    string
	mode    int64
	content []byte
}

func writeTar(w io.Writer, files ...file) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		if err := t.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content))}); err != nil {
			return err
		}
		if _, err := t.Write(f.content); err != nil {
			return err
		}
	}
	return t.Close()
}

// digest is the SHA-256 of b in hexadecimal.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
