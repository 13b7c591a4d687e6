package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/archive/volume"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

// maxKeyFile bounds a file of keys: some hundreds of lines.
const maxKeyFile = 64 << 10

// encryption reads the keys that the configuration names.
func encryption(cfg *config.Config) (recipients []age.Recipient, identities []age.Identity, err error) {
	e := cfg.Archive.Encryption
	for _, r := range e.Recipients {
		one, err := age.ParseRecipients(strings.NewReader(r))
		if err != nil {
			return nil, nil, errors.New("archive.encryption.recipients: not an age recipient")
		}
		recipients = append(recipients, one...)
	}
	if e.RecipientsFile != "" {
		more, err := readKeys(e.RecipientsFile, age.ParseRecipients)
		if err != nil {
			return nil, nil, fmt.Errorf("archive.encryption.recipients_file: %w", err)
		}
		recipients = append(recipients, more...)
	}
	if e.IdentityFile != "" {
		if identities, err = readKeys(e.IdentityFile, age.ParseIdentities); err != nil {
			return nil, nil, fmt.Errorf("archive.encryption.identity_file: %w", err)
		}
	}
	return recipients, identities, nil
}

// readKeys reads a file of keys. Errors do not repeat what is in it.
func readKeys[K any](name string, parse func(io.Reader) ([]K, error)) ([]K, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	keys, err := parse(bytes.NewReader(config.WithoutBOM(text)))
	if err != nil {
		return nil, fmt.Errorf("%s holds something else than age keys, one a line", name)
	}
	return keys, nil
}

func (a *app) volumeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "volume", Short: "Read volume files, encrypt them for other keys", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var keys []string
	cat := &cobra.Command{
		Use: "cat FILE", Short: "Write the tar stream of a volume to standard output", Args: cobra.ExactArgs(1),
		Long: `Writes the tar stream of a volume file, encrypted (.pkv) or not (.tar.zst), to
standard output. It needs nothing but the file and, for .pkv, the key:

  postkeep volume cat -i key.txt 00000001.pkv | tar x`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.volumeCat(cmd.Context(), args[0], keys) },
	}
	cat.Flags().StringArrayVarP(&keys, "identity", "i", nil, "private key `file`, as age-keygen writes it; may be repeated")
	cmd.AddCommand(cat, &cobra.Command{
		Use: "rotate", Short: "Encrypt all encrypted volumes for the present recipients", Args: cobra.NoArgs,
		Long: `Writes all encrypted volumes anew, for the recipients that the configuration names
now (archive.encryption). archive.encryption.identity_file must open them. The
volume that is being written is finished first. Volumes that are not encrypted
stay as they are. Copies made earlier can still be read with the old keys.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.volumeRotate(cmd.Context()) },
	})
	return cmd
}

func (a *app) volumeCat(ctx context.Context, name string, keys []string) error {
	var identities []age.Identity
	for _, key := range keys {
		more, err := readKeys(key, age.ParseIdentities)
		if err != nil {
			return err
		}
		identities = append(identities, more...)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := volume.Cat(ctx, a.stdout, f, info.Size(), identities...); err != nil {
		if errors.Is(err, volume.ErrNoIdentity) {
			err = fmt.Errorf("%w: give the key with -i", err)
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (a *app) volumeRotate(ctx context.Context) error {
	return a.with(ctx, toRead, func(cfg *config.Config, client *api.Client) error {
		if e := cfg.Archive.Encryption; len(e.Recipients) == 0 && e.RecipientsFile == "" {
			return usage(errors.New("no recipients are configured (archive.encryption)"))
		}
		n := 0
		plain, err := client.Rotate(ctx, func(v volume.Info) {
			n++
			fmt.Fprintf(a.stdout, "volume %d, %s\n", v.Number, size(v.Bytes))
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "%s volume(s) encrypted for the present recipients\n", count(n))
		if plain > 0 {
			fmt.Fprintf(a.stdout, "%s volume(s) are not encrypted and stay so\n", count(plain))
		}
		return nil
	})
}
