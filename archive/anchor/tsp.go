package anchor

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // names the certificate in the attribute of RFC 2634, signs nothing
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// The structures of RFC 3161 and of CMS (RFC 5652) as far as time stamps use
// them. Both demand DER here, which is all that encoding/asn1 reads.

var (
	oidSignedData  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidDigest      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSignerCert  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12} // RFC 2634 section 5.4
	oidSignerCert2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47} // RFC 5035 section 3
	oidExtKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}

	oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
)

type messageImprint struct {
	HashAlgorithm pkix.AlgorithmIdentifier
	HashedMessage []byte
}

type timeStampReq struct {
	Version        int
	MessageImprint messageImprint
	Nonce          *big.Int
	CertReq        bool
}

type timeStampResp struct {
	Status struct {
		Status       int
		StatusString []asn1.RawValue `asn1:"optional"`
		FailInfo     asn1.BitString  `asn1:"optional"`
	}
	Token asn1.RawValue `asn1:"optional"`
}

type contentInfo struct {
	ContentType asn1.ObjectIdentifier
	Content     signedData `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version          int
	DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
	EncapContentInfo struct {
		ContentType asn1.ObjectIdentifier
		Content     []byte `asn1:"explicit,tag:0"`
	}
	Certificates asn1.RawValue `asn1:"optional,tag:0"`
	CRLs         asn1.RawValue `asn1:"optional,tag:1"`
	SignerInfos  []signerInfo  `asn1:"set"`
}

type signerInfo struct {
	Version            int
	SID                asn1.RawValue
	DigestAlgorithm    pkix.AlgorithmIdentifier
	SignedAttrs        asn1.RawValue `asn1:"tag:0"`
	SignatureAlgorithm pkix.AlgorithmIdentifier
	Signature          []byte
	UnsignedAttrs      asn1.RawValue `asn1:"optional,tag:1"`
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

type issuerAndSerial struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

type tstInfo struct {
	Version        int
	Policy         asn1.ObjectIdentifier
	MessageImprint messageImprint
	SerialNumber   *big.Int
	GenTime        time.Time `asn1:"generalized"`
	Accuracy       struct {
		Seconds int `asn1:"optional"`
		Millis  int `asn1:"optional,tag:0"`
		Micros  int `asn1:"optional,tag:1"`
	} `asn1:"optional"`
	Ordering   bool          `asn1:"optional"`
	Nonce      *big.Int      `asn1:"optional"`
	TSA        asn1.RawValue `asn1:"optional,tag:0"`
	Extensions asn1.RawValue `asn1:"optional,tag:1"`
}

// unmarshal is asn1.Unmarshal that takes nothing behind the value.
func unmarshal(der []byte, v any) error {
	rest, err := asn1.Unmarshal(der, v)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes too many", len(rest))
	}
	return err
}

// parseResponse returns the token of a response that grants one.
func parseResponse(der []byte) (signedData, error) {
	var resp timeStampResp
	if err := unmarshal(der, &resp); err != nil {
		return signedData{}, fmt.Errorf("response: %w", err)
	}
	if s := resp.Status; s.Status != 0 && s.Status != 1 { // granted, granted with modifications
		var reasons []string
		for _, text := range s.StatusString {
			reasons = append(reasons, string(text.Bytes[:min(len(text.Bytes), maxReason)]))
		}
		return signedData{}, fmt.Errorf("the authority refuses with status %d, failure %x: %q", s.Status, s.FailInfo.Bytes, reasons)
	}
	var info contentInfo
	if err := unmarshal(resp.Token.FullBytes, &info); err != nil {
		return signedData{}, fmt.Errorf("token: %w", err)
	}
	d := info.Content
	if !info.ContentType.Equal(oidSignedData) || !d.EncapContentInfo.ContentType.Equal(oidTSTInfo) || len(d.SignerInfos) != 1 {
		return signedData{}, errors.New("token: not a time stamp with one signature")
	}
	return d, nil
}

// verify checks the signature over the content, and returns the certificate
// that made it and the others of the token.
func (d *signedData) verify() (signer *x509.Certificate, others []*x509.Certificate, err error) {
	others, err = x509.ParseCertificates(d.Certificates.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("certificates: %w", err)
	}
	info := &d.SignerInfos[0]
	at := slices.IndexFunc(others, info.isOf)
	if at < 0 {
		return nil, nil, errors.New("the certificate of the signer is missing")
	}
	signer = others[at]
	if err := info.signerAttributes(signer, d.EncapContentInfo.Content); err != nil {
		return nil, nil, fmt.Errorf("signed attributes: %w", err)
	}
	algorithm, err := info.algorithm()
	if err != nil {
		return nil, nil, err
	}
	signed := bytes.Clone(info.SignedAttrs.FullBytes)
	signed[0] = asn1.TagSet | 0x20 // RFC 5652 section 5.4: not the implicit tag
	if err := signer.CheckSignature(algorithm, signed, info.Signature); err != nil {
		return nil, nil, fmt.Errorf("signature: %w", err)
	}
	return signer, others, nil
}

// isOf says whether the signer is identified by the certificate.
func (s *signerInfo) isOf(c *x509.Certificate) bool {
	if s.SID.Class == asn1.ClassContextSpecific && s.SID.Tag == 0 {
		return len(c.SubjectKeyId) > 0 && bytes.Equal(s.SID.Bytes, c.SubjectKeyId)
	}
	var id issuerAndSerial
	return unmarshal(s.SID.FullBytes, &id) == nil && bytes.Equal(id.Issuer.FullBytes, c.RawIssuer) && id.Serial.Cmp(c.SerialNumber) == 0
}

// signerAttributes checks that the signed attributes are those of the content and the
// signer (RFC 3161 section 2.4.2).
func (s *signerInfo) signerAttributes(signer *x509.Certificate, content []byte) error {
	digest, err := hashOf(s.DigestAlgorithm.Algorithm)
	if err != nil {
		return err
	}
	var contentType, messageDigest, certificate bool
	for rest := s.SignedAttrs.Bytes; len(rest) > 0; {
		var a attribute
		if rest, err = asn1.Unmarshal(rest, &a); err != nil {
			return err
		}
		if len(a.Values) != 1 {
			continue
		}
		value := a.Values[0].FullBytes
		switch {
		case a.Type.Equal(oidContentType):
			var oid asn1.ObjectIdentifier
			contentType = unmarshal(value, &oid) == nil && oid.Equal(oidTSTInfo)
		case a.Type.Equal(oidDigest):
			var sum []byte
			messageDigest = unmarshal(value, &sum) == nil && bytes.Equal(sum, sumOf(digest, content))
		case a.Type.Equal(oidSignerCert), a.Type.Equal(oidSignerCert2):
			if certificate = isSigner(a.Type, value, signer); !certificate {
				return errors.New("they are for another certificate")
			}
		}
	}
	if !contentType || !messageDigest || !certificate {
		return errors.New("content type, digest or certificate is missing or wrong")
	}
	return nil
}

// isSigner says whether a signing certificate attribute begins with the certificate.
func isSigner(oid asn1.ObjectIdentifier, der []byte, c *x509.Certificate) bool {
	if oid.Equal(oidSignerCert) {
		var v struct {
			Certs []struct {
				Hash   []byte
				Serial asn1.RawValue `asn1:"optional"`
			}
			Policies asn1.RawValue `asn1:"optional"`
		}
		return unmarshal(der, &v) == nil && len(v.Certs) > 0 && bytes.Equal(v.Certs[0].Hash, sumOf(crypto.SHA1, c.Raw))
	}
	var v struct {
		Certs    []asn1.RawValue
		Policies asn1.RawValue `asn1:"optional"`
	}
	if unmarshal(der, &v) != nil || len(v.Certs) == 0 {
		return false
	}
	// The algorithm has a default, which encoding/asn1 cannot say of a sequence.
	hash, rest := crypto.SHA256, v.Certs[0].Bytes
	var algorithm pkix.AlgorithmIdentifier
	if after, err := asn1.Unmarshal(rest, &algorithm); err == nil {
		if hash, err = hashOf(algorithm.Algorithm); err != nil {
			return false
		}
		rest = after
	}
	var sum []byte
	_, err := asn1.Unmarshal(rest, &sum)
	return err == nil && bytes.Equal(sum, sumOf(hash, c.Raw))
}

// hashOf returns a hash function that still counts as secure.
func hashOf(oid asn1.ObjectIdentifier) (crypto.Hash, error) {
	switch {
	case oid.Equal(oidSHA256):
		return crypto.SHA256, nil
	case oid.Equal(oidSHA384):
		return crypto.SHA384, nil
	case oid.Equal(oidSHA512):
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("hash algorithm %v is not accepted", oid)
}

func sumOf(hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}

// algorithm returns what the signature was made with. RSA is named with or
// without the hash.
func (s *signerInfo) algorithm() (x509.SignatureAlgorithm, error) {
	digest, err := hashOf(s.DigestAlgorithm.Algorithm)
	if err != nil {
		return 0, err
	}
	index := slices.Index([]crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}, digest)
	rsa := []x509.SignatureAlgorithm{x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA}
	pss := []x509.SignatureAlgorithm{x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS}
	ecdsa := []x509.SignatureAlgorithm{x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512}
	known := map[string]x509.SignatureAlgorithm{
		"1.2.840.113549.1.1.1":  rsa[index],
		"1.2.840.113549.1.1.11": rsa[0], "1.2.840.113549.1.1.12": rsa[1], "1.2.840.113549.1.1.13": rsa[2],
		"1.2.840.113549.1.1.10": pss[index],
		"1.2.840.10045.4.3.2":   ecdsa[0], "1.2.840.10045.4.3.3": ecdsa[1], "1.2.840.10045.4.3.4": ecdsa[2],
		"1.3.101.112": x509.PureEd25519,
	}
	if a, ok := known[s.SignatureAlgorithm.Algorithm.String()]; ok {
		return a, nil
	}
	return 0, fmt.Errorf("signature algorithm %v is not accepted", s.SignatureAlgorithm.Algorithm)
}
