//! Final hidden states of a frozen model at the positions that predict a target, kept on disk as bf16: what a pass would
//! compute again every time.
//!
//! A file is a header that says whose states of which samples these are, and one record a sample: its states, and a digest of
//! them. No size in a file is believed: all of them follow from the samples of the run. A file is written aside, where it can be
//! gone on with after a stop, and gets its name when it is whole; one of something else is refused and stays.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use half::bf16;
use sha2::{Digest, Sha256};

use super::error::{Error, io};
use super::files::{open_regular, parent, sync_folder};

const MAGIC: &[u8; 8] = b"UDSTATES";
const VERSION: u32 = 1;
/// Bytes of the header: magic, version, width, samples, positions, the digests of model and samples, and one of all these.
const HEADER: usize = 128;
/// Where the header's digests begin: of the model, of the samples, and of the header so far.
const MODEL_AT: usize = 32;
const SAMPLES_AT: usize = 64;
const OWN_AT: usize = 96;
/// Bytes of a record's digest.
const DIGEST: usize = 16;
/// Bytes of a number.
const NUMBER: u64 = 2;
/// Ends the name of a file that is still being written.
const PART: &str = ".part";

/// What the states of a file must be of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatesOf {
    /// Everything that tells the model from another.
    pub model: String,
    /// Everything that tells the samples from others.
    pub data: String,
    /// Numbers of a state.
    pub width: usize,
    /// The number of each sample, and its positions that predict a target.
    pub samples: Vec<(u64, usize)>,
}

/// States that are whole and checked.
#[derive(Debug)]
pub struct States {
    path: PathBuf,
    file: File,
    /// Where each sample's record begins, and the bytes of its states.
    records: HashMap<u64, (u64, usize)>,
}

/// States that are being written, sample by sample.
#[derive(Debug)]
pub struct StatesWriter {
    path: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
    of: StatesOf,
    done: usize,
}

impl StatesOf {
    fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let positions: u64 = self.samples.iter().map(|(_, count)| *count as u64).sum();
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&u32::try_from(self.width).unwrap_or(u32::MAX).to_le_bytes());
        header[16..24].copy_from_slice(&(self.samples.len() as u64).to_le_bytes());
        header[24..32].copy_from_slice(&positions.to_le_bytes());
        header[MODEL_AT..SAMPLES_AT].copy_from_slice(&Sha256::digest(&self.model));
        let mut samples = Sha256::new_with_prefix(&self.data);
        for (number, count) in &self.samples {
            samples.update(number.to_le_bytes());
            samples.update((*count as u64).to_le_bytes());
        }
        header[SAMPLES_AT..OWN_AT].copy_from_slice(&samples.finalize());
        let own = Sha256::digest(&header[..OWN_AT]);
        header[OWN_AT..].copy_from_slice(&own);
        header
    }

    /// Bytes of a sample's states.
    fn bytes(&self, sample: usize) -> u64 {
        self.samples[sample].1 as u64 * self.width as u64 * NUMBER
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        let records: u64 = (0..self.samples.len()).map(|sample| self.bytes(sample) + DIGEST as u64).sum();
        HEADER as u64 + records
    }

    /// Why a header is not that of these states.
    fn difference(&self, found: &[u8; HEADER]) -> Option<&'static str> {
        let wanted = self.header();
        let differs = |from: usize, to: usize| found[from..to] != wanted[from..to];
        if differs(0, 8) {
            return Some("this is no file of hidden states");
        }
        if Sha256::digest(&found[..OWN_AT])[..] != found[OWN_AT..] {
            return Some("its header is damaged");
        }
        [
            (8, 12, "another version of this program made it"),
            (MODEL_AT, SAMPLES_AT, "its states are another model's, or the model has changed"),
            (12, OWN_AT, "its states are of other samples: data, template, steps or diagnostics have changed"),
        ]
        .into_iter()
        .find(|(from, to, _)| differs(*from, *to))
        .map(|(_, _, reason)| reason)
    }

    /// Reads from the front of a file: the whole records that are there, and where they end.
    ///
    /// # Errors
    /// If it is not of these states, or cannot be read.
    fn scan(&self, path: &Path, file: &File) -> Result<(usize, u64), Error> {
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut header = [0; HEADER];
        if !is_read(path, &mut file, &mut header)? {
            return Err(refused(path, "it was cut off within its header"));
        }
        if let Some(reason) = self.difference(&header) {
            return Err(refused(path, reason));
        }
        let mut end = HEADER as u64;
        let mut record = Vec::new();
        for sample in 0..self.samples.len() {
            let bytes = self.bytes(sample) as usize;
            record.resize(bytes + DIGEST, 0);
            let is_whole = is_read(path, &mut file, &mut record)?;
            if !is_whole || record[bytes..] != digest(self.samples[sample].0, &record[..bytes]) {
                return Ok((sample, end));
            }
            end += record.len() as u64;
        }
        Ok((self.samples.len(), end))
    }
}

impl States {
    /// Opens a file and checks all of it; `None` if there is none.
    ///
    /// # Errors
    /// If it is of something else, damaged, or cannot be read.
    pub fn open(path: &Path, of: &StatesOf) -> Result<Option<Self>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let file = open_regular(path, u64::MAX).map_err(io(path, "read"))?;
        let (whole, end) = of.scan(path, &file)?;
        let bytes = file.metadata().map_err(io(path, "read"))?.len();
        if bytes < of.file_bytes() {
            return Err(refused(path, "it was cut off"));
        }
        if whole < of.samples.len() {
            let reason = format!("the states of sample idx {} are damaged", of.samples[whole].0);
            return Err(refused(path, &reason));
        }
        if bytes > end {
            return Err(refused(path, "something stands behind its end"));
        }
        Ok(Some(Self::of(path, file, of)))
    }

    fn of(path: &Path, file: File, of: &StatesOf) -> Self {
        let mut at = HEADER as u64;
        let record = |(i, (number, _)): (usize, &(u64, usize))| {
            let (start, bytes) = (at, of.bytes(i));
            at += bytes + DIGEST as u64;
            (*number, (start, bytes as usize))
        };
        let records = of.samples.iter().enumerate().map(record).collect();
        Self { path: path.into(), file, records }
    }

    /// Appends the states of a sample to `to`, two bytes a number, position by position. Of samples that are not kept there
    /// are none.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(&self, sample: u64, to: &mut Vec<u8>) -> Result<(), Error> {
        let Some(&(start, bytes)) = self.records.get(&sample) else { return Ok(()) };
        let first = to.len();
        to.resize(first + bytes, 0);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(start)).map_err(io(&self.path, "read"))?;
        file.read_exact(&mut to[first..]).map_err(io(&self.path, "read"))
    }
}

impl StatesWriter {
    /// Begins a file, or goes on with one that was stopped.
    ///
    /// # Errors
    /// If what stands there is of something else, or nothing can be written there.
    pub fn open(path: &Path, of: StatesOf) -> Result<Self, Error> {
        let mut part = path.as_os_str().to_owned();
        part.push(PART);
        let part = PathBuf::from(part);
        let known = part.exists();
        if known {
            drop(open_regular(&part, u64::MAX).map_err(io(&part, "write"))?);
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(!known);
        let mut file = options.open(&part).map_err(io(&part, "write"))?;
        // A stop within the header left nothing to go on with.
        let begun = known && file.metadata().map_err(io(&part, "read"))?.len() >= HEADER as u64;
        let (done, end) = if begun { of.scan(&part, &file)? } else { (0, 0) };
        file.set_len(end).map_err(io(&part, "write"))?;
        file.seek(SeekFrom::Start(end)).map_err(io(&part, "write"))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        if end == 0 {
            file.write_all(&of.header()).map_err(io(&part, "write"))?;
        }
        Ok(Self { path: path.into(), part, file, of, done })
    }

    /// Samples that are written.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Writes the states of the next sample, rounded to nearest even.
    ///
    /// # Errors
    /// If a number is not finite, there are too many or too few, or the file cannot be written.
    pub fn push(&mut self, values: &[f32]) -> Result<(), Error> {
        let wanted = self.of.samples.get(self.done).map(|(number, count)| (*number, count * self.of.width));
        let Some((sample, _)) = wanted.filter(|(_, count)| *count == values.len()) else {
            let reason =
                format!("{} numbers came for sample {} of {}", values.len(), self.done, self.of.samples.len());
            return Err(Error::Damaged { path: self.part.clone(), reason });
        };
        let rounded: Vec<bf16> = values.iter().map(|value| bf16::from_f32(*value)).collect();
        if let Some(index) = rounded.iter().position(|value| !value.is_finite()) {
            let name = format!("hidden states of sample idx {sample}");
            return Err(Error::NotFinite { path: self.path.clone(), name, index, value: values[index] });
        }
        let bytes: Vec<u8> = rounded.iter().flat_map(|value| value.to_le_bytes()).collect();
        let write = |file: &mut BufWriter<File>| {
            file.write_all(&bytes)?;
            file.write_all(&digest(sample, &bytes))
        };
        write(&mut self.file).map_err(io(&self.part, "write"))?;
        self.done += 1;
        Ok(())
    }

    /// Hands what was pushed to the system, so that a later run can go on behind it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.file.flush().map_err(io(&self.part, "write"))
    }

    /// Gives the file its name, after the last sample.
    ///
    /// # Errors
    /// If samples are missing, something stands there, or it cannot be written.
    pub fn finish(mut self) -> Result<States, Error> {
        if self.done < self.of.samples.len() {
            let reason = format!("{} of {} samples are written", self.done, self.of.samples.len());
            return Err(Error::Damaged { path: self.part, reason });
        }
        if self.path.exists() {
            return Err(Error::Exists { path: self.path });
        }
        self.flush()?;
        self.file.get_ref().sync_all().map_err(io(&self.part, "sync"))?;
        std::fs::rename(&self.part, &self.path).map_err(io(&self.path, "create"))?;
        sync_folder(parent(&self.path)).map_err(io(&self.path, "sync"))?;
        let file = File::open(&self.path).map_err(io(&self.path, "read"))?;
        Ok(States::of(&self.path, file, &self.of))
    }
}

/// Of a sample's number and its states, so that a record in another's place is noticed too.
fn digest(sample: u64, bytes: &[u8]) -> [u8; DIGEST] {
    let digest = Sha256::new().chain_update(sample.to_le_bytes()).chain_update(bytes).finalize();
    std::array::from_fn(|i| digest[i])
}

/// Fills `bytes`; false if the file ends before.
fn is_read(path: &Path, file: &mut impl Read, bytes: &mut [u8]) -> Result<bool, Error> {
    match file.read_exact(bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true).map_err(io(path, "read")),
    }
}

fn refused(path: &Path, reason: &str) -> Error {
    let advice = "remove it to make it anew, or choose another --out";
    Error::Damaged { path: path.into(), reason: format!("{reason}; nothing was overwritten: {advice}") }
}
