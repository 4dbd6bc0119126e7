//! The dashboard: a page and its assets, embedded. Each asset's path contains a hash over all of
//! them, so browsers can cache it indefinitely without mixing assets of two builds.

use std::sync::LazyLock;

use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use weir_proto::request::{Code, Refusal};

use super::answer::{refused, text};
use super::operations::Names;
use super::parameters::shown;

const HTML: &str = "text/html; charset=utf-8";
const PAGE: &str = include_str!("../../../dashboard/index.html");
/// Stands for the hash in the page.
const PLACEHOLDER: &str = "BUILD";
/// In seconds: a year, the longest that means anything.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// One file.
struct Asset {
    name: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($folder:literal: $($name:literal)+;)+) => {
        &[$($(Asset {
            name: $name,
            bytes: include_bytes!(concat!("../../../dashboard/", $folder, $name)),
        },)+)+]
    };
}

static ASSETS: &[Asset] = assets! {
    "":
        "api.js" "base.css" "change.js" "charts.js" "config.js" "dialog.js" "diff.js" "dom.js"
        "events.js" "flow.js" "format.js" "health.js" "heat.js" "icon.svg" "live.js" "main.js"
        "parts.css" "poll.js" "pools.js" "sessions.js" "stream.js" "theme.js" "work.js";
    "vendor/": "uPlot.iife.min.js" "uPlot.min.css";
};

/// A hash of the page and its parts, as 16 digits: FNV-1a. Nothing depends on its strength.
static BUILD: LazyLock<String> = LazyLock::new(|| {
    let parts = ASSETS.iter().flat_map(|asset| [asset.name.as_bytes(), asset.bytes]);
    let bytes = parts.chain([PAGE.as_bytes()]).flatten();
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
});

/// The page with the paths of its parts.
static PAGE_OF_BUILD: LazyLock<Bytes> =
    LazyLock::new(|| PAGE.replace(PLACEHOLDER, &BUILD).into_bytes().into());

/// True if a request comes from a browser. A tool that takes everything gets text.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/html")
    })
}

pub(super) fn page() -> Response<Bytes> {
    text(StatusCode::OK, HTML, PAGE_OF_BUILD.clone())
}

/// A part of the page, by build and name.
pub(super) fn part(names: &Names<'_>, headers: &HeaderMap) -> Response<Bytes> {
    let [build, name] = names.0[..] else { return missing("") };
    let found = ASSETS.iter().find(|asset| asset.name == name && build == *BUILD);
    let Some(asset) = found else { return missing(name) };
    let tag = format!("\"{build}\"");
    let is_known = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| value == tag.as_str());
    let mut answer = if is_known {
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        text(StatusCode::OK, kind(name), asset.bytes)
    };
    let tag = HeaderValue::from_str(&tag).expect("digits and quotes");
    answer.headers_mut().insert(header::ETAG, tag);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
    answer
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

fn missing(name: &str) -> Response<Bytes> {
    let message = format!("the dashboard of this build has no {:?}", shown(name));
    let refusal = Refusal::new(Code::NotFound, message, "load the page again: weir is another one");
    refused(StatusCode::NOT_FOUND, &refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard")
    }

    fn texts() -> Vec<(&'static str, &'static str)> {
        let text = |asset: &Asset| core::str::from_utf8(asset.bytes).unwrap();
        ASSETS.iter().map(|asset| (asset.name, text(asset))).collect()
    }

    fn is_ours(name: &str) -> bool {
        folder().join(name).exists()
    }

    #[test]
    fn every_file_is_served_and_every_name_leads_to_a_file() {
        let entries = |path: PathBuf| std::fs::read_dir(path).unwrap().flatten();
        let files = entries(folder()).chain(entries(folder().join("vendor")));
        for file in files.filter(|file| file.path().is_file()) {
            let name = file.file_name().into_string().unwrap();
            let is_served = ASSETS.iter().any(|asset| asset.name == name);
            let is_other = name == "index.html" || name.ends_with(".LICENSE");
            assert!(is_served != is_other, "{name}");
        }
        let known = |name: &str| ASSETS.iter().any(|asset| asset.name == name);
        for part in PAGE.split("dashboard/BUILD/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(known(name), "the page asks for {name}");
        }
        for (of, text) in texts().into_iter().filter(|(name, _)| is_ours(name)) {
            for part in text.split("from \"./").skip(1) {
                let name = part.split('"').next().unwrap();
                assert!(known(name), "{of} asks for {name}");
            }
        }
    }

    /// `default-src 'self'` would block it, and a file would then do nothing, without a word here.
    #[test]
    fn nothing_is_inline_and_nothing_comes_from_outside() {
        let inline = [" style=", "<style", " onclick=", " onload=", "javascript:", "<script>"];
        for part in inline {
            assert!(!PAGE.contains(part), "{part}");
        }
        assert!(!PAGE.contains("//"), "an address of somebody else");
        for (name, text) in texts().into_iter().filter(|(name, _)| is_ours(name)) {
            let addresses = text.matches("://").count();
            let names = text.matches("http://www.w3.org/2000/svg").count();
            assert_eq!(addresses, names, "{name} names an address of somebody else");
            for part in ["innerHTML", "insertAdjacentHTML", "eval(", "style: \"", "document.write"]
            {
                assert!(!text.contains(part), "{part} in {name}");
            }
        }
    }

    #[test]
    fn a_browser_is_known_by_what_it_accepts() {
        let accepts = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(value));
            wants_page(&headers)
        };
        assert!(accepts("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(accepts("text/plain, TEXT/HTML;q=0.5"));
        for other in ["*/*", "text/plain", "application/json", "text/*", ""] {
            assert!(!accepts(other), "{other}");
        }
        assert!(!wants_page(&HeaderMap::new()));
    }

    #[test]
    fn a_part_is_kept_by_its_build() {
        let ask = |build: &str, name: &str, tag: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(tag) = tag {
                headers.insert(header::IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap());
            }
            let answer = part(&Names(vec![build, name]), &headers);
            (answer.status().as_u16(), answer.body().len(), answer.headers().clone())
        };
        let build = BUILD.as_str();
        let (status, length, headers) = ask(build, "main.js", None);
        assert!(status == 200 && length > 1000, "{status} {length}");
        assert_eq!(headers[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(headers[header::CACHE_CONTROL], FOR_EVER);
        let tag = headers[header::ETAG].to_str().unwrap().to_owned();
        let (status, length, _) = ask(build, "main.js", Some(&tag));
        assert_eq!((status, length), (304, 0));
        assert_eq!(ask("0", "main.js", None).0, 404, "a part of another build");
        assert_eq!(ask(build, "main.jsx", None).0, 404);
        let page = page();
        let page = core::str::from_utf8(page.body()).unwrap();
        assert!(page.contains(&format!("dashboard/{build}/main.js")) && !page.contains("BUILD"));
    }
}
