//! A list written as it is read, so that its length costs no memory.

use axum::body::{Body, Bytes};
use db::{
    Conn,
    list::{CHUNK, ListQuery},
};
use futures_util::stream;
use serde::Serialize;
use serde_json::Value;

use super::chunks::Chunks;
use crate::{Ctx, Error, Result, policy::Lens, resource::Resource};

/// Where a streamed list stands.
struct Reading<R> {
    chunks: Chunks<R>,
    fields: Vec<String>,
    /// What the caller sees, where that is not everything.
    lens: Option<Lens>,
    /// The opening of the document, until it is written.
    opening: Vec<u8>,
    /// Items have been written.
    begun: bool,
    ended: bool,
}

/// `{"<plural>": […]}` of everything that matches, a chunk of rows at a time from one snapshot.
pub(super) fn all<R: Resource>(
    ctx: &Ctx,
    conn: Conn,
    query: ListQuery,
    fields: Vec<String>,
    lens: Option<Lens>,
) -> Body {
    let opening = format!("{{\"{}\":[", R::TABLE.plural).into_bytes();
    let chunks = Chunks::<R>::new(ctx, conn, query);
    let reading = Reading { chunks, fields, lens, opening, begun: false, ended: false };
    Body::from_stream(stream::try_unfold(reading, |mut reading| async move {
        if reading.ended {
            return Ok::<_, Error>(None);
        }
        let chunk = reading.next().await?;
        Ok(Some((chunk, reading)))
    }))
}

impl<R: Resource> Reading<R> {
    async fn next(&mut self) -> Result<Bytes> {
        let items = self.chunks.next(CHUNK).await?;
        self.ended = items.count < CHUNK;
        if !self.ended && self.lens.is_none() {
            self.chunks.read_ahead(CHUNK);
        }
        let mut items = items.make()?;
        items.iter_mut().for_each(R::in_list);
        let mut out = std::mem::take(&mut self.opening);
        out.reserve(items.len() * 1024);
        match &mut self.lens {
            None => self.begun = write_more(&mut out, self.begun, &items, &self.fields)?,
            Some(lens) => {
                let items = lens.list(self.chunks.conn()?, &items).await?;
                self.begun = write_more(&mut out, self.begun, &items, &self.fields)?;
            }
        }
        if self.ended {
            out.extend_from_slice(b"]}");
        }
        Ok(out.into())
    }
}

/// Items after those that may have been written; whether there are any now.
fn write_more(out: &mut Vec<u8>, begun: bool, items: &[impl Serialize], fields: &[String]) -> Result<bool> {
    // The last chunk is empty when the items before it filled theirs.
    if begun && !items.is_empty() {
        out.push(b',');
    }
    write_items(out, items, fields)?;
    Ok(begun || !items.is_empty())
}

/// The items, parted by commas.
pub(super) fn write_items<R: Serialize>(out: &mut Vec<u8>, items: &[R], fields: &[String]) -> Result<()> {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_item(out, item, fields)?;
    }
    Ok(())
}

/// One item with only the attributes in `fields`, or all of them when that is empty.
pub(super) fn write_item<R: Serialize>(out: &mut Vec<u8>, item: &R, fields: &[String]) -> Result<()> {
    let written = if fields.is_empty() {
        serde_json::to_writer(out, item)
    } else {
        serde_json::to_value(item).and_then(|mut value| {
            if let Value::Object(attributes) = &mut value {
                attributes.retain(|name, _| fields.iter().any(|f| f == name));
            }
            serde_json::to_writer(out, &value)
        })
    };
    written.map_err(|error| Error::Internal(format!("an answer cannot be written as JSON: {error}")))
}
