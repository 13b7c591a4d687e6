package anchor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
)

const (
	queryType = "application/timestamp-query" // RFC 3161 section 3.4
	replyType = "application/timestamp-reply"

	stampSuffix      = ".tsr"
	checkpointSuffix = ".checkpoint"

	nonceSize = 16 // bytes: a nonce is never drawn twice
)

// TSAOptions says which authority stamps checkpoints, and where the stamps are kept.
type TSAOptions struct {
	// URL of the time-stamping authority, http or https: what it signs is
	// verified either way. Required.
	URL string
	// Roots are the certificates from which the authority's must descend. Required.
	Roots *x509.CertPool
	// Dir keeps the stamps, beside the ledger; it is made. Required.
	Dir string
	// FS is the file system; nil means the operating system's.
	FS disk.FS
	// Client is nil for http.DefaultClient.
	Client *http.Client
	// Timeout of a request; 0 means DefaultTimeout.
	Timeout time.Duration
	// Rand is the source of nonces; nil means crypto/rand.
	Rand io.Reader
}

// A TSA lets an authority confirm with a time stamp (RFC 3161) that a checkpoint
// existed. All methods may be called concurrently.
type TSA struct {
	opt TSAOptions
	url *url.URL
}

// NewTSA returns a TSA, or an error that says which option is wrong.
func NewTSA(opt TSAOptions) (*TSA, error) {
	u, err := parseURL(opt.URL)
	if err != nil {
		return nil, err
	}
	if opt.Roots == nil || opt.Dir == "" {
		return nil, errors.New("anchor: a time-stamping authority needs trusted roots and a directory")
	}
	if opt.FS == nil {
		opt.FS = disk.OS()
	}
	if opt.Timeout <= 0 {
		opt.Timeout = DefaultTimeout
	}
	if opt.Rand == nil {
		opt.Rand = rand.Reader
	}
	return &TSA{opt, u}, nil
}

// A Stamp is a time stamp that was verified.
type Stamp struct {
	File     string // path of the stamp, "" if it was not read from a file
	Size     int64  // number of events that the checkpoint covers
	Time     time.Time
	Accuracy time.Duration // of Time, either way; 0 if the authority does not say
	Serial   *big.Int      // of the stamp
	// Authority is the subject of the certificate that signed.
	Authority string
}

// Anchor is Stamp for callers that do not need the stamp.
func (t *TSA) Anchor(ctx context.Context, checkpoint []byte) error {
	_, err := t.Stamp(ctx, checkpoint)
	return err
}

// Stamp has the checkpoint stamped, verifies the stamp, and returns it when both
// are durable. A checkpoint that this authority has stamped is not stamped again: the stamp has no Time then.
func (t *TSA) Stamp(ctx context.Context, checkpoint []byte) (Stamp, error) {
	size, err := sizeOf(checkpoint)
	if err != nil {
		return Stamp{}, err
	}
	// The name tells checkpoints and authorities apart.
	id := sha256.Sum256(append([]byte(t.opt.URL+"\n"), checkpoint...))
	name := filepath.Join(t.opt.Dir, fmt.Sprintf("%020d-%x", size, id[:4]))
	if _, err := t.opt.FS.Stat(name + stampSuffix); !errors.Is(err, fs.ErrNotExist) {
		return Stamp{}, err
	}
	stamp, err := t.anchor(ctx, checkpoint, name)
	if err != nil {
		return stamp, fmt.Errorf("time stamp from %s: %w", t.url.Redacted(), err)
	}
	return stamp, nil
}

func (t *TSA) anchor(ctx context.Context, checkpoint []byte, name string) (Stamp, error) {
	query, nonce, err := t.query(checkpoint)
	if err != nil {
		return Stamp{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.opt.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url.String(), bytes.NewReader(query))
	if err != nil {
		return Stamp{}, err
	}
	req.Header.Set("Content-Type", queryType)
	reply, mediaType, err := do(t.opt.Client, req)
	if err != nil {
		return Stamp{}, err
	}
	if mediaType != replyType {
		return Stamp{}, fmt.Errorf("the answer is %.50q, not %s", mediaType, replyType)
	}
	stamp, err := verifyStamp(checkpoint, reply, t.opt.Roots, nonce)
	if err != nil {
		return Stamp{}, err
	}
	if err := t.opt.FS.MkdirAll(t.opt.Dir, disk.DirPerm); err != nil {
		return Stamp{}, err
	}
	if err := t.opt.FS.SyncDir(filepath.Dir(t.opt.Dir)); err != nil {
		return Stamp{}, err
	}
	if err := disk.WriteFile(t.opt.FS, name+checkpointSuffix, checkpoint, disk.FilePerm); err != nil {
		return Stamp{}, err
	}
	return stamp, disk.WriteFile(t.opt.FS, name+stampSuffix, reply, disk.FilePerm)
}

func (t *TSA) query(checkpoint []byte) (der []byte, nonce *big.Int, err error) {
	random := make([]byte, nonceSize)
	if _, err := io.ReadFull(t.opt.Rand, random); err != nil {
		return nil, nil, fmt.Errorf("nonce: %w", err)
	}
	nonce = new(big.Int).SetBytes(random)
	sum := sha256.Sum256(checkpoint)
	der, err = asn1.Marshal(timeStampReq{
		Version: 1, Nonce: nonce, CertReq: true,
		MessageImprint: messageImprint{pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}, sum[:]},
	})
	return der, nonce, err
}

// Verify checks all stamps in the directory, of whatever authority, without asking
// any, and calls check with every checkpoint whose stamp is sound. It
// returns those stamps in the order of their checkpoints, and the errors joined. A
// stamp that is altered, or not under the trusted roots, is ErrInvalid.
func (t *TSA) Verify(ctx context.Context, check Check) ([]Stamp, error) {
	names, err := t.opt.FS.ReadDir(t.opt.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var stamps []Stamp
	var errs []error
	for _, entry := range names {
		base, ok := strings.CutSuffix(entry.Name(), stampSuffix)
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return stamps, err
		}
		stamp, err := t.verifyFile(ctx, filepath.Join(t.opt.Dir, base), check)
		if err == nil {
			stamps = append(stamps, stamp)
		} else if len(errs) < maxErrors {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Join(t.opt.Dir, entry.Name()), err))
		}
	}
	return stamps, errors.Join(errs...)
}

func (t *TSA) verifyFile(ctx context.Context, name string, check Check) (Stamp, error) {
	checkpoint, err := disk.ReadFile(t.opt.FS, name+checkpointSuffix, maxCheckpoint)
	if err != nil {
		return Stamp{}, err
	}
	reply, err := disk.ReadFile(t.opt.FS, name+stampSuffix, maxAnswer)
	if err != nil {
		return Stamp{}, err
	}
	stamp, err := VerifyStamp(checkpoint, reply, t.opt.Roots)
	if err != nil {
		return Stamp{}, err
	}
	stamp.File = name + stampSuffix
	return stamp, check(ctx, checkpoint)
}

// VerifyStamp checks offline that a response of a time-stamping authority (a .tsr file) is
// about the checkpoint and was signed under one of the roots. The certificates must have
// been valid at the time of the stamp; whether one was revoked is not checked. Every
// error is ErrInvalid.
func VerifyStamp(checkpoint, response []byte, roots *x509.CertPool) (Stamp, error) {
	return verifyStamp(checkpoint, response, roots, nil)
}

// verifyStamp also compares the nonce unless that is nil.
func verifyStamp(checkpoint, response []byte, roots *x509.CertPool, nonce *big.Int) (Stamp, error) {
	fail := func(err error) (Stamp, error) { return Stamp{}, fmt.Errorf("%w: %w", ErrInvalid, err) }
	size, err := sizeOf(checkpoint)
	if err != nil {
		return Stamp{}, err
	}
	token, err := parseResponse(response)
	if err != nil {
		return fail(err)
	}
	var info tstInfo
	if err := unmarshal(token.EncapContentInfo.Content, &info); err != nil {
		return fail(fmt.Errorf("time stamp: %w", err))
	}
	sum := sha256.Sum256(checkpoint)
	switch imprint := info.MessageImprint; {
	case info.Version != 1:
		return fail(fmt.Errorf("time stamp of version %d", info.Version))
	case !imprint.HashAlgorithm.Algorithm.Equal(oidSHA256) || !bytes.Equal(imprint.HashedMessage, sum[:]):
		return fail(errors.New("it is the time stamp of something else"))
	case nonce != nil && (info.Nonce == nil || info.Nonce.Cmp(nonce) != 0):
		return fail(errors.New("it answers another request"))
	}
	signer, others, err := token.verify()
	if err != nil {
		return fail(err)
	}
	if err := trusted(signer, others, roots, info.GenTime); err != nil {
		return fail(err)
	}
	a := info.Accuracy
	return Stamp{
		Size: size, Time: info.GenTime.UTC(), Serial: info.SerialNumber, Authority: signer.Subject.String(),
		Accuracy: time.Duration(a.Seconds)*time.Second + time.Duration(a.Millis)*time.Millisecond + time.Duration(a.Micros)*time.Microsecond,
	}, nil
}

// trusted says whether a certificate may sign time stamps and nothing else (RFC 3161
// section 2.3), and descends from a root.
func trusted(signer *x509.Certificate, others []*x509.Certificate, roots *x509.CertPool, at time.Time) error {
	critical := false
	for _, e := range signer.Extensions {
		critical = critical || e.Id.Equal(oidExtKeyUsage) && e.Critical
	}
	if !critical || len(signer.ExtKeyUsage) != 1 || signer.ExtKeyUsage[0] != x509.ExtKeyUsageTimeStamping || len(signer.UnknownExtKeyUsage) > 0 {
		return errors.New("the certificate of the signer is not one for time stamps only")
	}
	intermediates := x509.NewCertPool()
	for _, c := range others {
		intermediates.AddCert(c)
	}
	_, err := signer.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	})
	return err
}
