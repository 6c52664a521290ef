//! Cuts a stream into lines.

/// A longer line is cut into pieces of this many bytes, so that a program without line breaks takes no memory.
pub(crate) const LONGEST: usize = 8192;

/// A line, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// Without its line break.
    pub(crate) text: &'a [u8],
    /// Bytes of the stream that it is, with its line break.
    pub(crate) length: usize,
    /// Whether a line break follows.
    pub(crate) ends: bool,
}

impl<'a> Piece<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match bytes.strip_suffix(b"\n") {
            Some(text) => Self { text, length: bytes.len(), ends: true },
            None => Self { text: bytes, length: bytes.len(), ends: false },
        }
    }
}

/// Cuts a stream into lines, however its bytes arrive: the same stream gives the same pieces.
#[derive(Debug, Default)]
pub(crate) struct Cutter(Vec<u8>);

impl Cutter {
    /// Takes in the next bytes, and gives each line that they complete.
    pub(crate) fn add(&mut self, bytes: &[u8], mut tell: impl FnMut(Piece<'_>)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.0.is_empty() && part.len() <= LONGEST && part.ends_with(b"\n") {
                tell(Piece::of(part));
                continue;
            }
            self.0.extend(part);
            let mut rest = self.0.as_slice();
            // A line break right after the longest piece is that piece's.
            while let Some((piece, after)) = rest.split_at_checked(LONGEST)
                && !after.is_empty()
                && after != b"\n"
            {
                tell(Piece::of(piece));
                rest = after;
            }
            if rest.ends_with(b"\n") {
                tell(Piece::of(rest));
                self.0.clear();
            } else {
                let told = self.0.len() - rest.len();
                self.0.drain(..told);
            }
        }
    }

    /// Gives what is left at the end.
    pub(crate) fn end(&mut self, mut tell: impl FnMut(Piece<'_>)) {
        if !self.0.is_empty() {
            tell(Piece::of(&self.0));
            self.0.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Told = (Vec<u8>, usize, bool);

    fn cut(chunks: &[&[u8]]) -> Vec<Told> {
        let (mut cutter, mut told) = (Cutter::default(), Vec::new());
        let mut tell = |piece: Piece<'_>| {
            assert!(piece.text.len() <= LONGEST);
            told.push((piece.text.to_owned(), piece.length, piece.ends));
        };
        for chunk in chunks {
            cutter.add(chunk, &mut tell);
            assert!(cutter.0.len() <= LONGEST);
        }
        cutter.end(&mut tell);
        told
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let expected = [("one", 4, true), ("", 1, true), ("two", 4, true), ("end", 3, false)];
        let expected = expected.map(|(text, length, ends)| (text.into(), length, ends));
        assert_eq!(cut(&[b"one\n\ntwo\nend"]), expected);
        assert_eq!(cut(&[b"on", b"e", b"\n", b"\ntw", b"o\ne", b"nd"]), expected);
        assert!(cut(&[b""]).is_empty());
    }

    #[test]
    fn a_line_without_end_is_cut_into_pieces() {
        let mut long = vec![b'x'; 2 * LONGEST];
        let lengths = |bytes: &[u8]| -> Vec<usize> {
            cut(&[bytes]).into_iter().map(|(_, length, _)| length).collect()
        };
        assert_eq!(lengths(&long), [LONGEST, LONGEST]);
        long.push(b'\n');
        assert_eq!(lengths(&long), [LONGEST, LONGEST + 1]);
        long.insert(0, b'x');
        assert_eq!(lengths(&long), [LONGEST, LONGEST, 2]);
    }

    proptest! {
        #[test]
        fn the_same_stream_gives_the_same_pieces(
            lines in proptest::collection::vec(0..2 * LONGEST + 3, 0..6), cuts in proptest::collection::vec(any::<u16>(), 0..9)
        ) {
            let mut whole = Vec::new();
            for length in lines {
                whole.extend(vec![b'x'; length]);
                whole.push(b'\n');
            }
            let mut places: Vec<usize> =
                cuts.iter().map(|cut| usize::from(*cut) % (whole.len() + 1)).collect();
            places.extend([0, whole.len()]);
            places.sort_unstable();
            let chunks: Vec<&[u8]> = places.windows(2).map(|at| &whole[at[0]..at[1]]).collect();
            let pieces = cut(&chunks);
            prop_assert_eq!(&pieces, &cut(&[&whole]));
            prop_assert_eq!(pieces.iter().map(|piece| piece.1).sum::<usize>(), whole.len());
        }
    }
}
