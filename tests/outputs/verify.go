// Opens an eStargz layer with the library of the stargz snapshotter, checks its table against the digest that the image
// gives, and every piece of every file against the table.
//
//	verify LAYER TABLE-DIGEST
package main

import (
	"fmt"
	"io"
	"log"
	"os"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"
)

type checker struct {
	layer    *estargz.Reader
	verifier estargz.TOCEntryVerifier
	pieces   int
}

func main() {
	log.SetFlags(0)
	file, err := os.Open(os.Args[1])
	check(err)
	info, err := file.Stat()
	check(err)
	layer, err := estargz.Open(io.NewSectionReader(file, 0, info.Size()))
	check(err)
	verifier, err := layer.VerifyTOC(digest.Digest(os.Args[2]))
	check(err)
	top, found := layer.Lookup("")
	if !found {
		log.Fatal("no root directory")
	}
	all := checker{layer: layer, verifier: verifier}
	all.walk(top)
	fmt.Println(all.pieces)
}

func (c *checker) walk(entry *estargz.TOCEntry) {
	for at := int64(0); entry.Type == "reg" && at < entry.Size; {
		piece, found := c.layer.ChunkEntryForOffset(entry.Name, at)
		if !found {
			log.Fatalf("%s: nothing for byte %d", entry.Name, at)
		}
		content, err := c.layer.OpenFile(entry.Name)
		check(err)
		verifier, err := c.verifier.Verifier(piece)
		check(err)
		_, err = io.Copy(verifier, io.NewSectionReader(content, piece.ChunkOffset, piece.ChunkSize))
		check(err)
		if !verifier.Verified() {
			log.Fatalf("%s: the piece at byte %d has another digest", entry.Name, at)
		}
		at += piece.ChunkSize
		c.pieces++
	}
	entry.ForeachChild(func(_ string, child *estargz.TOCEntry) bool {
		c.walk(child)
		return true
	})
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
