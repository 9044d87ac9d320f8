package pipeline

import (
	"bytes"
	"compress/gzip"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// maxObjects bounds what the rendered objects of one deployment may unpack to.
const maxObjects = 64 << 20

// Sealer compresses and encrypts rendered objects (AES-256-GCM), since they may hold Secrets.
type Sealer struct{ aead cipher.AEAD }

// NewSealer derives its key from data_key, which must hold at least 32 bytes.
func NewSealer(dataKey []byte) (*Sealer, error) {
	if len(dataKey) < 32 {
		return nil, errors.New("data_key holds less than 32 bytes: remove the file to have a new one made, or restore the old one from a backup")
	}
	key, err := hkdf.Key(sha256.New, dataKey, nil, "shipmate rendered objects", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead}, nil
}

// Seal returns what Open turns into plain again. name (a deployment's repository) is authenticated with it.
func (s *Sealer) Seal(plain []byte, name string) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(plain); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return s.aead.Seal(nil, nil, b.Bytes(), []byte(name)), nil
}

// Open is the inverse of Seal.
func (s *Sealer) Open(sealed []byte, name string) ([]byte, error) {
	b, err := s.aead.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return nil, fmt.Errorf("the stored objects cannot be decrypted: was data_key changed? restore the old one: %w", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(z, maxObjects+1))
	if err == nil && len(plain) > maxObjects {
		err = fmt.Errorf("the stored objects are larger than %d bytes", maxObjects)
	}
	return plain, err
}
