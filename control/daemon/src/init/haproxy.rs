//! haproxy.cfg: lines, sections, and from them a draft.

mod address;
mod agent;
mod checks;
mod join;
mod lexer;
mod per_source;
mod pools;
mod proxy;
mod rules;
mod server;
mod source;
mod term;
mod unsupported;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use weir_control_core::file::SHARDS_MAX;

use super::Surroundings;
use super::draft::Draft;
use super::note::{At, Notes, error, note, quoted, warning};
use lexer::Word;
use proxy::{DEFAULTS_DEEP_MAX, DefaultsSection, Lost, ProxyKind, ProxySection, ProxySettings};

/// Sections that hold no proxy.
const OTHER_SECTIONS: &[(&str, &str)] = &[
    ("peers", "weir has no stick tables to share"),
    ("resolvers", "weir asks those of /etc/resolv.conf, or discover.resolver of a pool"),
    ("mailers", "packaging/prometheus has alerts"),
    ("userlist", "it is for HTTP"),
    ("cache", "it is for HTTP"),
    ("http-errors", "it is for HTTP"),
    ("fcgi-app", "it is for HTTP"),
    ("program", "weir runs no programs"),
    ("ring", "weir logs to stderr"),
    ("log-forward", "weir relays no logs"),
    ("log-profile", "weir logs to stderr"),
    ("traces", "weir has its own"),
    ("crt-store", "weir does not encrypt"),
    ("acme", "weir does not encrypt"),
];

/// Directives of `global` that a file has for every host: weir has an answer to each.
const GLOBALS: &[(&str, &str, &str)] = &[
    ("maxconn", "weir's limit is RLIMIT_NOFILE", "set max-sessions for each listener"),
    ("maxconnrate", "weir has no limit of new sessions a second yet", ""),
    ("maxsessrate", "weir has no limit of new sessions a second yet", ""),
    ("log", "weir logs to stderr", "[weir] session-log has a line for each session"),
    ("stats", "`weirctl` is what a program or a person asks weir with", ""),
    ("ulimit-n", "weir raises its limit itself; packaging/weir.service sets it", ""),
    ("spread-checks", "weir's checks have a jitter of 10 %", ""),
    ("cpu-map", "weir gives each shard a core", ""),
    ("user", "the service manager starts weir as its user", ""),
    ("group", "the service manager starts weir as its user", ""),
    ("chroot", "packaging/weir.service confines weir", ""),
    ("daemon", "weir stays in the foreground, for a service manager", ""),
];

/// Reads a file into `draft`.
pub(super) fn read(
    name: &str,
    text: &[u8],
    (http_as_tcp, around): (bool, &dyn Surroundings),
    draft: &mut Draft,
    notes: &mut Notes,
) {
    let mut reader = ConfigReader {
        at: At::line(name, 1),
        around,
        set: RefCell::default(),
        section: Section::None,
        defaults: BTreeMap::new(),
        last_defaults: None,
        proxies: Vec::new(),
        conditions: 0,
        shards: None,
        notes,
    };
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        reader.at = reader.at.on(index + 1);
        reader.line(line);
    }
    reader.end_section();
    draft.shards = reader.shards;
    let (proxies, set) = (std::mem::take(&mut reader.proxies), reader.set.take());
    let variables = |name: &str| set.get(name).cloned().or_else(|| around.variable(name));
    join::join(&proxies, http_as_tcp, &variables, draft, notes);
}

/// Where a line belongs.
enum Section {
    None,
    Global,
    /// Nothing of it is carried over.
    Other,
    Defaults {
        name: String,
        section: Box<DefaultsSection>,
    },
    Proxy(Box<ProxySection>),
}

struct ConfigReader<'a> {
    at: At,
    around: &'a dyn Surroundings,
    /// Variables that `setenv` has set.
    set: RefCell<BTreeMap<String, String>>,
    section: Section,
    defaults: BTreeMap<String, Rc<DefaultsSection>>,
    last_defaults: Option<Rc<DefaultsSection>>,
    proxies: Vec<ProxySection>,
    /// How many `.if` are open.
    conditions: usize,
    /// `nbthread`.
    shards: Option<u16>,
    notes: &'a mut Notes,
}

impl ConfigReader<'_> {
    fn line(&mut self, line: &[u8]) {
        let mut unset = BTreeSet::new();
        let variables = |name: &str| {
            let set = self.set.borrow().get(name).cloned();
            set.or_else(|| self.around.variable(name))
        };
        let words = match lexer::words(line, &variables, &mut unset) {
            Ok(words) => words,
            Err(why) => {
                self.notes.add(&self.at, error("this line cannot be read").because(why));
                return;
            }
        };
        for name in unset {
            self.notes.add(&self.at, unset_variable(&name));
        }
        let Some(first) = words.first().map(|word| word.text.as_str()) else { return };
        if first.starts_with('.') || self.conditions > 0 {
            self.condition(first);
            return;
        }
        let kind = match first {
            "frontend" => Some(ProxyKind::Frontend),
            "backend" => Some(ProxyKind::Backend),
            "listen" => Some(ProxyKind::Listen),
            _ => None,
        };
        if let Some(kind) = kind {
            self.end_section();
            self.begin_proxy(kind, &words);
        } else if first == "defaults" {
            self.end_section();
            self.begin_defaults(&words);
        } else if first == "global" {
            self.end_section();
            self.section = Section::Global;
        } else if let Some((name, why)) = OTHER_SECTIONS.iter().find(|(name, _)| *name == first) {
            self.end_section();
            self.section = Section::Other;
            self.notes.add(&self.at, note(format!("the section `{name}`")).because(why));
        } else {
            self.within(&words);
        }
    }

    /// A line of the section that is open.
    fn within(&mut self, words: &[Word]) {
        let known = match &mut self.section {
            Section::None => {
                let first = words.first().map_or("", |word| word.text.as_str());
                let why = "a file of HAProxy begins with a section, such as global or listen";
                let what = format!("{} is in no section", quoted(first));
                self.notes.add(&self.at, error(what).because(why));
                true
            }
            Section::Other => true,
            Section::Global => {
                self.global(words);
                true
            }
            Section::Defaults { section, .. } => {
                let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
                section.settings.take(&self.at, words, &texts, &mut section.lost)
            }
            Section::Proxy(proxy) => proxy.take(&self.at, words),
        };
        let lost = match &mut self.section {
            Section::Defaults { section, .. } => &mut section.lost,
            Section::Proxy(proxy) => &mut proxy.lost,
            _ => return,
        };
        if !known {
            let first = words.first().map_or("", |word| word.text.as_str());
            let second = words.get(1).map(|word| format!(" {}", word.text));
            let second = second.filter(|_| first == "option").unwrap_or_default();
            let what = quoted(&format!("{first}{second}")) + " is not known to weir";
            lost.always(&self.at, warning(what).because("it is left out"));
        }
    }

    fn global(&mut self, words: &[Word]) {
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        match texts.as_slice() {
            ["setenv", name, value, ..] => {
                self.set.borrow_mut().insert((*name).to_owned(), (*value).to_owned());
            }
            ["presetenv", name, value, ..] => {
                if self.around.variable(name).is_none() {
                    self.set.borrow_mut().insert((*name).to_owned(), (*value).to_owned());
                }
            }
            ["nbthread", count, ..] => {
                let count = count.parse().ok().filter(|count| (1..=SHARDS_MAX).contains(count));
                self.shards = count.or(self.shards);
            }
            [first, ..] => {
                let known = GLOBALS.iter().find(|(name, ..)| name == first);
                let (what, why, hint) = match known {
                    Some((name, why, hint)) => (format!("global: `{name}`"), *why, *hint),
                    None => {
                        let why = "it means nothing to weir";
                        ("a setting of HAProxy's process".to_owned(), why, "")
                    }
                };
                self.notes.add(&self.at, note(what).because(why).instead(hint));
            }
            [] => {}
        }
    }

    /// `.if` and what follows until its `.endif`: which branch counts is not known here.
    fn condition(&mut self, first: &str) {
        match first {
            ".if" => {
                if self.conditions == 0 {
                    let why = "weir evaluates no conditions: every branch is left out";
                    let hint = "keep the branch that counts";
                    self.notes.add(&self.at, warning("`.if`").because(why).instead(hint));
                }
                self.conditions += 1;
            }
            ".endif" => self.conditions = self.conditions.saturating_sub(1),
            _ => {}
        }
    }

    fn begin_defaults(&mut self, words: &[Word]) {
        let mut parent = self.named_defaults(words).flatten();
        let settings = parent.as_ref().map(|it| it.settings.inherited()).unwrap_or_default();
        let mut depth = parent.as_ref().map_or(0, |it| it.depth + 1);
        if depth > DEFAULTS_DEEP_MAX {
            let why = "what the first ones lose is not noted";
            self.notes.add(&self.at, warning("defaults from defaults, too deep").because(why));
            (parent, depth) = (None, 0);
        }
        let name = words.get(1).map(|word| word.text.clone()).unwrap_or_default();
        let (lost, is_noted) = (Lost::default(), Cell::new(false));
        let section = DefaultsSection { settings, lost, parent, depth, is_noted };
        self.section = Section::Defaults { name, section: Box::new(section) };
    }

    /// The defaults behind `from`, if that is there: `Some(None)` if they do not exist.
    fn named_defaults(&mut self, words: &[Word]) -> Option<Option<Rc<DefaultsSection>>> {
        let at = words.iter().skip(1).position(|word| word.text == "from")?;
        let name = words.get(at + 2)?.text.as_str();
        let found = self.defaults.get(name).cloned();
        if found.is_none() {
            let what = format!("there are no defaults {}", quoted(name));
            self.notes.add(&self.at, warning(what).because("HAProxy's own are taken"));
        }
        Some(found)
    }

    fn begin_proxy(&mut self, kind: ProxyKind, words: &[Word]) {
        let named = self.named_defaults(words);
        let defaults = named.unwrap_or_else(|| self.last_defaults.clone());
        let settings: ProxySettings =
            defaults.as_ref().map(|it| it.settings.inherited()).unwrap_or_default();
        let name = words.get(1).map(|word| word.text.clone()).unwrap_or_default();
        if name.is_empty() {
            self.notes.add(&self.at, error("a section without a name"));
        }
        let (at, lost) = (self.at.clone(), Lost::default());
        let (binds, servers, has_stats) = (Vec::new(), Vec::new(), false);
        let mut proxy =
            ProxySection { kind, name, at, settings, lost, defaults, binds, servers, has_stats };
        // The old way: `listen NAME ADDRESS`.
        if let Some(address) = words.get(2).filter(|word| word.text != "from") {
            proxy.bind(&self.at, &address.text, &[]);
        }
        self.section = Section::Proxy(Box::new(proxy));
    }

    fn end_section(&mut self) {
        match std::mem::replace(&mut self.section, Section::None) {
            Section::Defaults { name, section } => {
                let section = Rc::new(*section);
                self.last_defaults = Some(Rc::clone(&section));
                if !name.is_empty() && name != "from" {
                    self.defaults.insert(name, section);
                }
            }
            Section::Proxy(proxy) => self.proxies.push(*proxy),
            Section::None | Section::Global | Section::Other => {}
        }
    }
}

fn unset_variable(name: &str) -> super::note::Remark {
    let what = format!("the variable {} is not set here", quoted(name));
    let why = "it was taken as empty";
    warning(what).because(why).instead(format!("run this command with {name}=…"))
}
