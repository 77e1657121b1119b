//! Bytes in pieces, as they might come from a connection.

/// How an input is cut: the lengths of its pieces, over and over. None is longer than 255 bytes.
pub type Sizes = [u8; 8];

/// Cuts an input into pieces of these sizes; if all are zero, not at all.
pub fn chunks<'b>(mut bytes: &'b [u8], sizes: &Sizes) -> Vec<&'b [u8]> {
    let mut chunks = Vec::new();
    if sizes.iter().any(|size| *size > 0) {
        let mut sizes = sizes.iter().cycle();
        while let (false, Some(size)) = (bytes.is_empty(), sizes.next()) {
            let (chunk, rest) = bytes.split_at(bytes.len().min(usize::from(*size)));
            chunks.push(chunk);
            bytes = rest;
        }
    }
    chunks.push(bytes);
    chunks
}
