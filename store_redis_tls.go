package serversession

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// tlsMaterial is what the files say that the options name.
type tlsMaterial struct{ Roots, Certificate, Key []byte }

func (s *RedisStore) tlsMaterial() (m tlsMaterial, err error) {
	m.Roots = []byte(s.TLSServerCertsPEM)
	for _, file := range []struct {
		path string
		to   *[]byte
	}{{s.TLSServerCertsPath, &m.Roots}, {s.TLSClientCertPath, &m.Certificate}, {s.TLSClientKeyPath, &m.Key}} {
		if file.path == "" {
			continue
		}
		if *file.to, err = os.ReadFile(file.path); err != nil {
			return m, err
		}
	}
	return m, nil
}

func (m tlsMaterial) config(s *RedisStore) (*tls.Config, error) {
	if !s.TLSEnabled {
		return nil, nil
	}
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         s.TLSServerName,
		InsecureSkipVerify: s.TLSInsecure,
	}
	if s.TLSServerCertsPath != "" || s.TLSServerCertsPEM != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(m.Roots) {
			return nil, errors.New("no certificate in PEM among the tls_server_certs")
		}
	}
	if s.TLSClientCertPath != "" {
		pair, err := tls.X509KeyPair(m.Certificate, m.Key)
		if err != nil {
			return nil, fmt.Errorf("tls_client_cert_path: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
