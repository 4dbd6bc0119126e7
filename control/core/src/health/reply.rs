//! What a backend answered, read from bytes that it chose: total functions over slices.

/// What the first bytes of an HTTP answer say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusLine {
    /// Right so far; more bytes will tell.
    Unfinished,
    Status(u16),
    /// This is not HTTP/1.
    Foreign,
}

/// Reads `HTTP/1.x NNN` and what ends it. Never looks at more than [`STATUS_LINE_MAX`] bytes.
pub fn status_line(bytes: &[u8]) -> StatusLine {
    let fits = |index: usize, byte: u8| match index {
        0..7 => byte == b"HTTP/1."[index],
        7 | 10 | 11 => byte.is_ascii_digit(),
        8 => byte == b' ',
        9 => (b'1'..=b'9').contains(&byte),
        _ => b" \r\n".contains(&byte),
    };
    let head = &bytes[..bytes.len().min(STATUS_LINE_MAX)];
    if !head.iter().enumerate().all(|(index, byte)| fits(index, *byte)) {
        return StatusLine::Foreign;
    }
    if head.len() < STATUS_LINE_MAX {
        return StatusLine::Unfinished;
    }
    let digit = |index: usize| u16::from(head[index] - b'0');
    StatusLine::Status(digit(9) * 100 + digit(10) * 10 + digit(11))
}

/// `HTTP/1.1 200` and the byte after it.
pub const STATUS_LINE_MAX: usize = 13;

/// Looks for a byte string in a stream, piece by piece, in constant memory (Knuth, Morris, Pratt).
#[derive(Debug)]
pub struct Seeker<'a> {
    wanted: &'a [u8],
    /// For each prefix of `wanted`: the length of its longest proper border.
    borders: Vec<usize>,
    matched: usize,
}

impl<'a> Seeker<'a> {
    pub fn new(wanted: &'a [u8]) -> Seeker<'a> {
        let mut borders = vec![0; wanted.len()];
        let mut length = 0;
        for index in 1..wanted.len() {
            while length > 0 && wanted[index] != wanted[length] {
                length = borders[length - 1];
            }
            length += usize::from(wanted[index] == wanted[length]);
            borders[index] = length;
        }
        Seeker { wanted, borders, matched: 0 }
    }

    /// Reads on. True once all of it has been seen (at once, if it is empty).
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        self.find(bytes).is_some()
    }

    /// Reads on until all of it has been seen. Returns how many of `bytes` that took.
    pub fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut count = 0;
        for byte in bytes {
            if self.matched == self.wanted.len() {
                break;
            }
            count += 1;
            while self.matched > 0 && *byte != self.wanted[self.matched] {
                self.matched = self.borders[self.matched - 1];
            }
            self.matched += usize::from(*byte == self.wanted[self.matched]);
        }
        (self.matched == self.wanted.len()).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        let cases: [(&[u8], StatusLine); 14] = [
            (b"HTTP/1.1 200 OK\r\n", StatusLine::Status(200)),
            (b"HTTP/1.0 503\r\n", StatusLine::Status(503)),
            (b"HTTP/1.1 404\n", StatusLine::Status(404)),
            (b"", StatusLine::Unfinished),
            (b"HTTP/1", StatusLine::Unfinished),
            (b"HTTP/1.1 200", StatusLine::Unfinished),
            (b"HTTP/1.1 2000", StatusLine::Foreign),
            (b"HTTP/1.1 020 ", StatusLine::Foreign),
            (b"HTTP/1.1 2x0 ", StatusLine::Foreign),
            (b"HTTP/2 200 OK", StatusLine::Foreign),
            (b"http/1.1 200 OK", StatusLine::Foreign),
            (b"SSH-2.0-OpenSSH", StatusLine::Foreign),
            (b"\x15\x03\x01", StatusLine::Foreign),
            (&[0xff; 64], StatusLine::Foreign),
        ];
        for (bytes, expected) in cases {
            assert_eq!(status_line(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_status_line_reads_the_same_however_it_is_cut() {
        let whole = b"HTTP/1.1 301 Moved";
        for cut in 0..STATUS_LINE_MAX {
            assert_eq!(status_line(&whole[..cut]), StatusLine::Unfinished, "{cut}");
        }
        assert_eq!(status_line(&whole[..STATUS_LINE_MAX]), StatusLine::Status(301));
    }

    #[test]
    fn a_seeker_agrees_with_windows_on_every_small_text() {
        let texts = |length: usize| {
            (0..1_usize << length).map(move |bits| {
                (0..length).map(|at| b'a' + u8::from(bits >> at & 1 == 1)).collect::<Vec<u8>>()
            })
        };
        for wanted in (1..=4).flat_map(texts) {
            for text in (0..=7).flat_map(texts) {
                let expected = text.windows(wanted.len()).any(|window| window == wanted);
                for cut in 0..=text.len() {
                    let mut seeker = Seeker::new(&wanted);
                    let (head, tail) = text.split_at(cut);
                    let found = seeker.feed(head) | seeker.feed(tail);
                    assert_eq!(found, expected, "{wanted:?} in {text:?} cut at {cut}");
                }
            }
        }
        assert!(Seeker::new(b"").feed(b""), "nothing is found at once");
    }
}
