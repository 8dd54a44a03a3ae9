//! Walking the journal: large reads, sets checked one after the other, and the search beyond a bad one.

use crate::reader::READ_CHUNK_BYTES;
use crate::set::{SET_ALIGN, SET_HEADER_BYTES, SET_MAGIC};
use crate::source::{is_unreadable, zeroed};
use crate::{Finding, Geometry, HeaderFault, ReadError, RegionId, SetHeader, SetKind, Source};

const HEADER: u64 = SET_HEADER_BYTES as u64;
/// The least that a device loses at once.
const LINE: u64 = LINE_BYTES as u64;
const LINE_BYTES: usize = 64;
/// A search passes over no more than this of what cannot be read before it tries again.
const MAX_SKIP_BYTES: u64 = 4096;
/// Void sets named one by one in findings; a window of thousands in flight would drown the report.
const MAX_NAMED_VOID: usize = 16;
/// Each read takes so many times what the one before took: who is far behind is soon at the largest.
const CHUNK_GROWTH: u64 = 16;

/// Where a walk stands: behind the set of this generation and sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) logical: u64,
    pub(crate) generation: u64,
    pub(crate) sequence: u64,
}

impl Place {
    pub(crate) fn pass(&mut self, header: &SetHeader) {
        *self = Self {
            logical: header.logical + header.stride,
            generation: header.generation,
            sequence: header.sequence,
        };
    }
}

/// The journal of a region with one buffered piece of it, which never spans the ring's end.
#[derive(Debug)]
pub(crate) struct Journal {
    region: RegionId,
    geometry: Geometry,
    /// How much the next read takes at least.
    chunk: u64,
    logical: u64,
    /// Only the first `held` bytes mean anything: what was forgotten is not zeroed to be overwritten.
    buffer: Vec<u8>,
    held: usize,
}

/// What a scan behind a bad set found.
#[derive(Debug, Default)]
pub(crate) struct Beyond {
    /// Highest floor that a later set names.
    pub(crate) floor: u64,
    /// Highest sequence and generation found, void ones included.
    pub(crate) sequence: u64,
    pub(crate) generation: u64,
    /// Later sets of this journal whose headers are whole.
    pub(crate) sets: u64,
    /// The first few of them.
    pub(crate) named: Vec<Finding>,
}

impl Journal {
    pub(crate) fn new(region: RegionId, geometry: Geometry, chunk: u64) -> Self {
        Self {
            region,
            geometry,
            chunk,
            logical: 0,
            buffer: Vec::new(),
            held: 0,
        }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// How much the next read takes; the ones after it take more and more, up to [`READ_CHUNK_BYTES`].
    pub(crate) fn set_chunk(&mut self, bytes: u64) {
        self.chunk = bytes;
    }

    /// The bytes at `place` where a set's header would lie, if they are buffered.
    pub(crate) fn buffered_header(&self, place: &Place) -> Option<[u8; SET_HEADER_BYTES]> {
        if !self.holds(place.logical, HEADER) {
            return None;
        }
        self.buffer[index(place.logical - self.logical)..]
            .first_chunk()
            .copied()
    }

    /// Drops what is buffered, so that the next step sees the region anew.
    pub(crate) fn forget(&mut self) {
        self.held = 0;
    }

    pub(crate) fn remap(&mut self, geometry: Geometry) {
        self.geometry = geometry;
        self.forget();
    }

    /// Checks the set that should lie at `place`: that it is whole, belongs there and follows.
    pub(crate) fn step<S: Source>(
        &mut self,
        source: &mut S,
        place: &Place,
    ) -> Result<Result<SetHeader, HeaderFault>, ReadError<S::Error>> {
        let room = self.geometry.ring_room(place.logical);
        if room < HEADER || !place.logical.is_multiple_of(SET_ALIGN) {
            return Ok(Err(HeaderFault::Shape("place")));
        }
        let region = self.region;
        let bytes = match self.bytes(source, place.logical, HEADER) {
            Err(error) if is_unreadable::<S>(&error) => return Ok(Err(HeaderFault::Unreadable)),
            bytes => bytes?,
        };
        let header = match SetHeader::decode_at(region, place.logical, bytes) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        if !follows(place, &header) {
            return Ok(Err(HeaderFault::Void {
                generation: header.generation,
                sequence: header.sequence,
            }));
        }
        // Only now is the length within the ring, so that reading (and allocating) that much is bounded.
        if header.stride > room {
            return Ok(Err(HeaderFault::Shape("stride")));
        }
        if header.kind == SetKind::Update {
            let (sequence, generation, length) = (header.sequence, header.generation, header.length);
            let bytes = match self.bytes(source, place.logical, HEADER + length) {
                Err(error) if is_unreadable::<S>(&error) => {
                    return Ok(Err(HeaderFault::UnreadablePayload {
                        sequence,
                        generation,
                        length,
                    }));
                }
                bytes => bytes?,
            };
            let payload = &bytes[SET_HEADER_BYTES..];
            let sum = SetHeader::payload_checksum(region, header.generation, header.logical).with(payload);
            if sum.value() != header.payload_crc {
                return Ok(Err(HeaderFault::Payload {
                    sequence,
                    generation,
                    length,
                }));
            }
        }
        Ok(Ok(header))
    }

    /// The payload of the set that the last step found whole.
    pub(crate) fn payload(&self, header: &SetHeader) -> &[u8] {
        if header.kind != SetKind::Update {
            return &[];
        }
        let from = index(header.logical - self.logical) + SET_HEADER_BYTES;
        &self.buffer[from..from + index(header.length)]
    }

    /// Looks for sets behind a bad one at `place`, at every aligned position of the next `window` bytes:
    /// a broken header hides where its successor begins.
    pub(crate) fn scan<S: Source>(
        &mut self,
        source: &mut S,
        place: &Place,
        window: u64,
    ) -> Result<Beyond, ReadError<S::Error>> {
        let mut beyond = Beyond::default();
        let end = place.logical.saturating_add(window.min(self.geometry.ring_len));
        let mut logical = place.logical;
        let mut skipped = 0;
        while logical < end {
            let room = self.geometry.ring_room(logical);
            if room < HEADER {
                logical = logical.saturating_add(room);
                continue;
            }
            match self.bytes(source, logical, HEADER) {
                Err(error) if is_unreadable::<S>(&error) => {
                    // From line to line, and in longer steps the longer nothing can be read.
                    let line = LINE - self.geometry.journal_offset(logical) % LINE;
                    logical = logical.saturating_add(line + skipped);
                    skipped = (skipped * 2 + LINE).min(MAX_SKIP_BYTES);
                }
                bytes => {
                    bytes?;
                    skipped = 0;
                    logical = self.scan_buffer(place, logical, end, &mut beyond);
                }
            }
        }
        Ok(beyond)
    }

    /// The lines of the device from `place` on that cannot be read, as far as they lie together: offset and length, at
    /// most [`READ_CHUNK_BYTES`] and not beyond the ring's end.
    pub(crate) fn unreadable_from<S: Source>(
        &mut self,
        source: &mut S,
        place: &Place,
    ) -> Result<Option<(u64, u64)>, ReadError<S::Error>> {
        let at = self.geometry.journal_offset(place.logical);
        let bound = at + self.geometry.ring_room(place.logical).min(READ_CHUNK_BYTES);
        let (mut found, mut line): (Option<(u64, u64)>, _) = (None, at / LINE * LINE);
        while line < bound {
            let from = line.max(self.geometry.ring_start);
            let mut bytes = [0; LINE_BYTES];
            let into = &mut bytes[..index((line + LINE).min(bound) - from)];
            match source.read_at(from, into) {
                Err(error) if S::is_unreadable(&error) => {
                    let (start, _) = *found.get_or_insert((from, 0));
                    found = Some((start, line + LINE - start));
                }
                Err(error) => {
                    return Err(ReadError::Source {
                        offset: from,
                        len: LINE,
                        source: error,
                    });
                }
                Ok(()) if found.is_some() => break,
                Ok(()) => {}
            }
            line += LINE;
        }
        let end = self.geometry.ring_start + self.geometry.ring_len;
        Ok(found.map(|(start, len)| (start, len.min(end - start))))
    }

    /// As [`scan`](Self::scan), over what is buffered already.
    pub(crate) fn scan_buffered(&self, place: &Place) -> Beyond {
        let mut beyond = Beyond::default();
        if self.holds(place.logical, HEADER) {
            self.scan_buffer(place, place.logical, u64::MAX, &mut beyond);
        }
        beyond
    }

    /// Scans from `logical` to the end of the buffer or to `end`; returns where to go on.
    fn scan_buffer(&self, place: &Place, logical: u64, end: u64, beyond: &mut Beyond) -> u64 {
        let mut from = index(logical - self.logical);
        let until = self.held.min(index(end.saturating_sub(self.logical)));
        while from + SET_HEADER_BYTES <= self.held && from < until {
            if self.buffer[from..from + 8] == SET_MAGIC {
                self.consider(place, self.logical + from as u64, &self.buffer[from..], beyond);
            }
            from += index(SET_ALIGN);
        }
        self.logical + from as u64
    }

    fn consider(&self, place: &Place, at: u64, bytes: &[u8], beyond: &mut Beyond) {
        let Ok(header) = SetHeader::decode_anywhere(self.region, bytes) else {
            return;
        };
        let here = self.geometry.ring_position(header.logical) == self.geometry.ring_position(at);
        // A greater logical offset is a later lap: the writer has overtaken the place.
        if !here || header.logical < at {
            return;
        }
        beyond.sequence = beyond.sequence.max(header.sequence);
        beyond.generation = beyond.generation.max(header.generation);
        if header.generation < place.generation || header.sequence <= place.sequence {
            return;
        }
        beyond.floor = beyond.floor.max(header.floor);
        if header.logical == place.logical {
            return;
        }
        beyond.sets += 1;
        if beyond.named.len() < MAX_NAMED_VOID {
            beyond.named.push(Finding::Void {
                offset: self.geometry.journal_offset(at),
                generation: header.generation,
                sequence: header.sequence,
            });
        }
    }

    /// `len` contiguous bytes at a logical offset. The caller has checked that they do not pass the ring's end.
    fn bytes<S: Source>(
        &mut self,
        source: &mut S,
        logical: u64,
        len: u64,
    ) -> Result<&[u8], ReadError<S::Error>> {
        if !self.holds(logical, len) {
            let mut piece = self.chunk.max(len).min(self.geometry.ring_room(logical));
            let offset = self.geometry.journal_offset(logical);
            self.forget();
            if self.buffer.len() < index(piece) {
                self.buffer = zeroed(index(piece))?;
            }
            while let Err(error) = source.read_at(offset, &mut self.buffer[..index(piece)]) {
                // What is asked for may be readable where the whole piece is not.
                if !S::is_unreadable(&error) || piece == len {
                    self.chunk = len;
                    return Err(ReadError::Source {
                        offset,
                        len: piece,
                        source: error,
                    });
                }
                piece = (piece / 2).max(len);
                self.chunk = piece;
            }
            self.logical = logical;
            self.held = index(piece);
            self.chunk = self
                .chunk
                .saturating_mul(CHUNK_GROWTH)
                .min(READ_CHUNK_BYTES.max(self.chunk));
        }
        let from = index(logical - self.logical);
        Ok(&self.buffer[from..from + index(len)])
    }

    fn holds(&self, logical: u64, len: u64) -> bool {
        let end = self.logical + self.held as u64;
        logical >= self.logical && logical.checked_add(len).is_some_and(|want| want <= end)
    }
}

/// Whether a whole set may stand behind `place`. Sequences rise; a set of a newer generation follows
/// only by way of that generation's takeover, so a reader never slips into the middle of a history that
/// is not its own.
fn follows(place: &Place, header: &SetHeader) -> bool {
    let taken_over = header.predecessor < header.generation;
    header.sequence > place.sequence
        && (header.generation == place.generation || (header.generation > place.generation && taken_over))
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("bounded by the ring, which was checked against the region's length")
}
