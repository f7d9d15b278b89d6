//! Walks of great files, line by line in one buffer, decoded on the way where they are compressed.
//!
//! What is looked for is kept by the caller, the file never is. A walk that nobody waits for any more ends at its next line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::LocalFiles;
use crate::Answer;

/// What is called for each line of a walk, off the runtime.
pub type EachLine = Box<dyn FnMut(&[u8]) -> ControlFlow<()> + Send>;

/// How a file is walked, and how much of it at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// How the file is compressed.
    pub encoding: Encoding,
    /// The longest content walked, in bytes after decoding. More is an error of kind
    /// [`io::ErrorKind::FileTooLarge`], after the lines up to there were given.
    pub len_max: u64,
    /// The longest line, in bytes. Of a longer one only so much is given.
    pub line_len_max: usize,
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Plain,
    /// RFC 1952, one or more members.
    Gzip,
    /// The LZ4 frame format, one or more frames.
    Lz4,
}

impl LocalFiles {
    /// Walks off the runtime, until nobody waits any more.
    pub(super) fn walk_off_the_runtime<'a>(
        &'a self,
        path: &'a Path,
        walk: Walk,
        mut each: EachLine,
    ) -> Answer<'a, io::Result<()>> {
        let is_unwanted = Arc::new(AtomicBool::new(false));
        let wanted = Wanted(Arc::clone(&is_unwanted));
        Box::pin(async move {
            let _wanted = wanted;
            self.off_the_runtime(path, move |path| {
                let mut each_wanted = |line: &[u8]| {
                    if is_unwanted.load(Ordering::Relaxed) {
                        return ControlFlow::Break(());
                    }
                    each(line)
                };
                walk_file(File::open(path)?, walk, &mut each_wanted)
            })
            .await
        })
    }
}

/// Somebody waits for a walk; dropped, nobody does.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn walk_file(
    file: File,
    walk: Walk,
    each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    // One byte more than allowed, so that a content of just that length is not too long.
    let limit = walk.len_max.saturating_add(1);
    match walk.encoding {
        Encoding::Plain => walk_content(BufReader::new(file.take(limit)), walk, each),
        Encoding::Gzip => {
            let decoded = flate2::read::MultiGzDecoder::new(file).take(limit);
            walk_content(BufReader::new(decoded), walk, each)
        }
        Encoding::Lz4 => {
            let decoded = lz4_flex::frame::FrameDecoder::new(BufReader::new(file)).take(limit);
            walk_content(BufReader::new(decoded), walk, each)
        }
    }
}

fn walk_content(
    mut content: impl BufRead,
    walk: Walk,
    each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    let mut read_len = 0_u64;
    let mut is_in_line = false;
    loop {
        let chunk = match content.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk.is_empty() {
            if is_in_line {
                let _last = each(&line);
            }
            return Ok(());
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        let kept = part.len().min(walk.line_len_max - line.len());
        line.extend_from_slice(&part[..kept]);
        let used = part.len() + usize::from(end.is_some());
        content.consume(used);
        read_len += u64::try_from(used).unwrap_or(u64::MAX);
        if read_len > walk.len_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        is_in_line = end.is_none();
        if !is_in_line {
            if each(&line).is_break() {
                return Ok(());
            }
            line.clear();
        }
    }
}
