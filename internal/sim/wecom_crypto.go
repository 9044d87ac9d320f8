package sim

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1" //nolint:gosec // WeCom's choice
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"
)

// wecomCallback is where something of WeCom's is told what people do, and the
// two secrets of that (WeCom developer documentation 90968).
type wecomCallback struct{ address, token, aesKey, receiver string }

func (c wecomCallback) block() (cipher.Block, []byte) {
	key, err := base64.StdEncoding.DecodeString(c.aesKey + "=")
	if err != nil {
		panic(err) // a test's
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the same
	}
	return block, key[:16]
}

func (c wecomCallback) signature(timestamp, nonce, encrypted string) string {
	parts := sort.StringSlice{c.token, timestamp, nonce, encrypted}
	parts.Sort()
	return fmt.Sprintf("%x", sha1.Sum([]byte(strings.Join(parts, "")))) //nolint:gosec // WeCom's choice
}

func (c wecomCallback) seal(text []byte, timestamp, nonce string) (encrypted, signature string) {
	plain := bytes.NewBufferString("0123456789abcdef")
	_ = binary.Write(plain, binary.BigEndian, uint32(len(text))) // a buffer takes everything
	plain.Write(text)
	plain.WriteString(c.receiver)
	n := 32 - plain.Len()%32
	plain.Write(bytes.Repeat([]byte{byte(n)}, n))
	block, iv := c.block()
	out := make([]byte, plain.Len())
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, plain.Bytes())
	encrypted = base64.StdEncoding.EncodeToString(out)
	return encrypted, c.signature(timestamp, nonce, encrypted)
}

func (c wecomCallback) open(encrypted string) ([]byte, error) {
	sealed, err := base64.StdEncoding.DecodeString(encrypted)
	if err != nil || len(sealed) == 0 || len(sealed)%32 != 0 {
		return nil, errors.New("the answer is not encrypted as WeCom wants it")
	}
	block, iv := c.block()
	plain := make([]byte, len(sealed))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, sealed)
	plain = plain[:len(plain)-int(plain[len(plain)-1])]
	n := int(binary.BigEndian.Uint32(plain[16:20]))
	if string(plain[20+n:]) != c.receiver {
		return nil, errors.New("the answer is meant for another receiver")
	}
	return plain[20 : 20+n], nil
}

// post sends the callback a text, encrypted and in what envelope makes of it,
// and returns what it answers within 5 s.
func (c wecomCallback) post(now time.Time, text []byte, envelope func(encrypted string) string) (answer string, err error) {
	stamp, nonce := itoa(now.Unix()), "nonce"
	encrypted, signature := c.seal(text, stamp, nonce)
	q := url.Values{"msg_signature": {signature}, "timestamp": {stamp}, "nonce": {nonce}}
	resp, err := (&http.Client{Timeout: callbackTime}).Post(c.address+"?"+q.Encode(), "text/xml", strings.NewReader(envelope(encrypted)))
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the callback answers %d: %s", resp.StatusCode, body)
	}
	return string(body), err
}
