use crate::content::Content;

/// The built page's files: path and gzip.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));
const INDEX: &str = "/index.html";
/// The page of an executable without the built page.
const NO_PAGE: &str = "<!doctype html><title>Quoteflow</title><p>The page was not built: run <code>make web</code> and \
                       compile again. The API is there: <a href=\"/api/openapi.json\">its description</a>.";

/// A file of the page, and how long a client may keep it.
pub struct File {
    pub content: Content,
    pub caching: &'static str,
}

/// The file at `path`. Assets never change, because their names contain their content's hash.
pub fn file(path: &str) -> Option<File> {
    let path = if path == "/" { INDEX } else { path };
    let Some((path, gzip)) = FILES.iter().find(|(name, _)| *name == path) else {
        let is_index = path == INDEX;
        let content = is_index.then(|| Content::text(content_type(path), NO_PAGE).ok()).flatten()?;
        return Some(File { content, caching: "no-cache" });
    };
    let is_asset = path.starts_with("/assets/");
    let caching = if is_asset { "public, max-age=31536000, immutable" } else { "no-cache" };
    Some(File { content: Content::compressed(content_type(path), gzip), caching })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}
