//! `<collection>_links` of a paginated list.

use serde_json::{Value, json};

use super::{Request, request::encode};

/// What a page was asked for and what came.
pub(super) struct Shown {
    /// Items asked for at most.
    pub(super) limit: u64,
    /// Items that came.
    pub(super) count: u64,
    /// Whether the page before the marker was asked for.
    pub(super) reverse: bool,
    /// Id of the first item.
    pub(super) first: Option<String>,
    /// Id of the last item.
    pub(super) last: Option<String>,
}

impl Shown {
    /// Counts further items of the page.
    pub(super) fn add(&mut self, ids: impl ExactSizeIterator<Item = String>) {
        self.count += ids.len() as u64;
        for id in ids {
            if self.first.is_none() {
                self.first = Some(id.clone());
            }
            self.last = Some(id);
        }
    }
}

/// The links to the next and the previous page, as upstream gives them: a full page has both, a short one only the
/// link back to where the client came from.
pub(super) fn links(request: &Request, shown: &Shown) -> Vec<Value> {
    let full = shown.count >= shown.limit;
    let mut links = Vec::with_capacity(2);
    if full || shown.reverse {
        links.push(json!({"rel": "next", "href": url(request, shown.last.as_deref(), false)}));
    }
    if full || !shown.reverse {
        links.push(json!({"rel": "previous", "href": url(request, shown.first.as_deref(), true)}));
    }
    links
}

fn url(request: &Request, marker: Option<&str>, reverse: bool) -> String {
    let kept = request.query.iter().filter(|(key, _)| key != "marker" && key != "page_reverse");
    let mut pairs: Vec<String> = kept.map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    if let Some(marker) = marker {
        pairs.push(format!("marker={marker}"));
    }
    if reverse {
        pairs.push("page_reverse=True".to_owned());
    }
    format!("{}/{}?{}", request.base, request.path.join("/"), pairs.join("&"))
}
