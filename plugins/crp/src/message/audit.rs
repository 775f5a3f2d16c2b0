//! Type 5: records of one edge chain, in order.

use postern_core::key_service::{Acknowledged, Batch};

use crate::wire::{Malformed, Reader, TooLong, Writer};

/// Most records in one message.
pub const MAX_RECORDS: usize = 1000;
/// Most bytes of all records together, two for each length included.
pub const MAX_BYTES: usize = 61_440;

/// The question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// One to [`MAX_RECORDS`] records.
    pub batch: Batch,
}

/// Whether a batch fits into one message.
pub fn fits(batch: &Batch) -> bool {
    let bytes = batch
        .records
        .iter()
        .fold(0_usize, |sum, record| sum.saturating_add(record.len()).saturating_add(2));
    (1..=MAX_RECORDS).contains(&batch.records.len()) && bytes <= MAX_BYTES
}

impl Request {
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        if !fits(&self.batch) {
            return Err(TooLong);
        }
        writer.put(&self.batch.boot);
        writer.put(&self.batch.vm);
        writer.u64(self.batch.first);
        writer.put(&self.batch.prev);
        writer.count16(self.batch.records.len(), MAX_RECORDS)?;
        self.batch.records.iter().try_for_each(|record| writer.lp16(record))
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (boot, vm) = (reader.array()?, reader.array()?);
        let (first, prev) = (reader.u64()?, reader.array()?);
        let count = reader.u16()?;
        if usize::from(count) > MAX_RECORDS {
            return Err(Malformed);
        }
        let records = (0..count).map(|_| reader.lp16().map(<[u8]>::to_vec));
        let batch = Batch { boot, vm, first, prev, records: records.collect::<Result<_, _>>()? };
        if fits(&batch) { Ok(Self { batch }) } else { Err(Malformed) }
    }
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Sequence number that the collector expects next on this chain.
    pub next: u64,
}

impl Answer {
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        writer.u64(self.next);
        Ok(())
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { next: reader.u64()? })
    }
}

impl From<Answer> for Acknowledged {
    fn from(answer: Answer) -> Self {
        Self { next: answer.next }
    }
}
