//! Bits into bytes, the first one lowest (RFC 1951, 3.1.1).

/// Collects bits in a register and writes its whole bytes.
pub(super) struct BitWriter<'a> {
    output: &'a mut [u8],
    position: usize,
    bits: u64,
    count: u32,
}

impl<'a> BitWriter<'a> {
    /// Writes from the start of `output`, which must have room for eight bytes more than will be written.
    pub(super) fn new(output: &'a mut [u8]) -> Self {
        Self { output, position: 0, bits: 0, count: 0 }
    }

    /// Adds the lowest `count` bits of `bits`; the others are zero. There is room for 57 between two calls of [`Self::flush`].
    #[inline(always)]
    pub(super) fn add(&mut self, bits: u32, count: u32) {
        self.bits |= u64::from(bits) << self.count;
        self.count += count;
    }

    /// Adds a code as [`super::code::Code`] packs it.
    #[inline(always)]
    pub(super) fn add_code(&mut self, code: u32) {
        self.add(code & 0xffff, code >> 16);
    }

    /// Writes the whole bytes; at most seven bits stay.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        self.output[self.position..self.position + 8].copy_from_slice(&self.bits.to_le_bytes());
        self.position += (self.count >> 3) as usize;
        self.bits >>= self.count & !7;
        self.count &= 7;
    }

    /// Fills up the byte that was begun with zeros.
    pub(super) fn align(&mut self) {
        self.flush();
        self.count = (self.count + 7) & !7;
        self.flush();
    }

    /// Writes bytes as they are, at a byte boundary.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.count, 0);
        self.output[self.position..self.position + bytes.len()].copy_from_slice(bytes);
        self.position += bytes.len();
    }

    /// Returns how many bytes were written.
    pub(super) fn finish(mut self) -> usize {
        self.align();
        self.position
    }
}
