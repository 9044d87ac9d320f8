package chat

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // WeCom's choice
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// wecomCrypto reads and writes what WeCom encrypts on its way to and from a callback (WeCom developer documentation 90968): AES-256-CBC
// under the key that EncodingAESKey is, a length and the receiver's id inside, and a SHA-1 over it that the token makes a signature.
type wecomCrypto struct {
	token    Secret
	key      Secret // 32 bytes
	receiver string // the corp's id; empty for a smart robot
}

const (
	wecomPad    = 32 // PKCS#7 pads to blocks of this, twice AES's
	wecomRandom = 16 // bytes in front of the length
)

// newWeComCrypto checks the form of the two secrets of a callback.
func newWeComCrypto(token, aesKey Secret, receiver string) (*wecomCrypto, error) {
	if token.Reveal() == "" {
		return nil, errors.New("token is empty; copy it from the callback's page")
	}
	const characters = 43 // base64 of 32 bytes, without its =
	key, err := base64.StdEncoding.DecodeString(aesKey.Reveal() + "=")
	if err != nil || len(key) != 32 || len(aesKey.Reveal()) != characters {
		return nil, fmt.Errorf("aes_key is no EncodingAESKey: it has %d letters and digits; copy it from the callback's page again", characters)
	}
	return &wecomCrypto{token, NewSecret(string(key)), receiver}, nil
}

// open is what an encrypted text says. The error is [ErrNotGenuine] where the signature is another's.
func (c *wecomCrypto) open(signature, timestamp, nonce, encrypted string) ([]byte, error) {
	if subtle.ConstantTimeCompare([]byte(signature), []byte(c.sign(timestamp, nonce, encrypted))) != 1 {
		return nil, ErrNotGenuine
	}
	text, err := base64.StdEncoding.DecodeString(encrypted)
	if err != nil || len(text) == 0 || len(text)%aes.BlockSize != 0 {
		return nil, errors.New("what is encrypted has no whole blocks")
	}
	block, iv := c.cipher()
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(text, text)
	pad := int(text[len(text)-1])
	if pad < 1 || pad > wecomPad || pad > len(text) {
		return nil, errors.New("what is encrypted is padded wrongly; is aes_key that of this callback?")
	}
	text = text[:len(text)-pad]
	if len(text) < wecomRandom+4 {
		return nil, errors.New("what is encrypted is too short")
	}
	n, rest := binary.BigEndian.Uint32(text[wecomRandom:]), text[wecomRandom+4:]
	if uint64(n) > uint64(len(rest)) {
		return nil, errors.New("what is encrypted is shorter than it says")
	}
	if string(rest[n:]) != c.receiver {
		return nil, errors.New("it is meant for another receiver; is corp_id right?")
	}
	return rest[:n], nil
}

// seal encrypts a text and signs it.
func (c *wecomCrypto) seal(text []byte, timestamp, nonce string) (encrypted, signature string) {
	plain := make([]byte, wecomRandom, wecomRandom+4+len(text)+len(c.receiver)+wecomPad)
	_, _ = rand.Read(plain) // it never fails
	plain = binary.BigEndian.AppendUint32(plain, uint32(len(text)))
	plain = append(append(plain, text...), c.receiver...)
	pad := wecomPad - len(plain)%wecomPad
	plain = append(plain, slices.Repeat([]byte{byte(pad)}, pad)...)
	block, iv := c.cipher()
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(plain, plain)
	encrypted = base64.StdEncoding.EncodeToString(plain)
	return encrypted, c.sign(timestamp, nonce, encrypted)
}

func (c *wecomCrypto) cipher() (cipher.Block, []byte) {
	key := []byte(c.key.Reveal())
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // its length was checked
	}
	return block, key[:aes.BlockSize]
}

func (c *wecomCrypto) sign(timestamp, nonce, encrypted string) string {
	parts := []string{c.token.Reveal(), timestamp, nonce, encrypted}
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, ""))) //nolint:gosec // WeCom's choice
	return hex.EncodeToString(sum[:])
}
