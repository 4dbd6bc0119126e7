//! The dashboard in a real browser: what an operator sees, clicks and takes back.

mod pictures;

use serde_json::{Value, json};
use weir_tests::browser::{Browser, ESCAPE};
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};
use weir_tests::weir::TOKEN;

use crate::http::with_token;

/// The page of a weir, with figures on it.
fn visit(set: &Set, (width, height): (u32, u32)) -> Browser {
    let browser = Browser::start(width, height);
    browser.open(&format!("http://{}/", set.weir.admin));
    wait_text(&browser, "#link", "live");
    wait_text(&browser, "[data-backend='web/b1'] .state", "up");
    browser
}

fn text_of(selector: &str) -> String {
    format!("(document.querySelector({selector:?})?.innerText ?? '')")
}

#[track_caller]
fn wait_text(browser: &Browser, selector: &str, part: &str) {
    let what = format!("{part:?} in {selector}");
    browser.wait(&what, &format!("return {}.includes({part:?})", text_of(selector)));
}

/// Types the token where the page asks for it.
fn unlock(browser: &Browser) {
    browser
        .wait("the field for the token", "return document.querySelector('#dialog[open] #token')");
    browser.type_into("#token", TOKEN);
    browser.click("#dialog form button");
}

/// Nothing was wrong with the page's scripts, and the policy had nothing to block.
#[track_caller]
fn expect_quiet(browser: &Browser) {
    assert_eq!(browser.console(), [""; 0]);
}

#[test]
fn a_drain_is_shown_first_then_done_then_taken_back() {
    let set = with_token(Plan::new(3, Script::Banner));
    let _session = set.session();
    let browser = visit(&set, (1440, 900));
    browser.click("[data-backend='web/b1'] [data-to=drain]");
    // Without the token it says what it needs, and goes on from there.
    wait_text(&browser, "#dialog", "weirctl backend drain web/b1");
    unlock(&browser);
    wait_text(&browser, "#dialog", "Nothing has changed yet");
    for part in ["backend web/b1", "session", "weirctl backend drain web/b1"] {
        wait_text(&browser, "#dialog", part);
    }
    assert_eq!(set.weir.version(), 1, "a dry run changes nothing");
    browser.click("#confirm");
    wait_text(&browser, "[data-backend='web/b1'] .state", "draining");
    wait_text(&browser, "#toast", "Version 2");
    wait_text(&browser, "#toast", "weirctl backend ready web/b1");
    assert_eq!(set.weir.backend("web/b1")["state"], "draining");
    wait_text(&browser, "#event-list", "state ready → drain");
    browser.click("#undo");
    wait_text(&browser, "[data-backend='web/b1'] .state", "up");
    assert_eq!((set.weir.backend("web/b1")["state"].clone(), set.weir.version()), ("up".into(), 3));
    wait_text(&browser, "#history", "state drain → ready");
    expect_quiet(&browser);
    // The token was never kept, and is in no address.
    let kept = "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])";
    assert!(!browser.run(kept).to_string().contains(TOKEN));
}

#[test]
fn what_would_take_traffic_away_is_asked_twice() {
    let set = with_token(Plan::new(1, Script::Banner));
    let browser = visit(&set, (1440, 900));
    browser.click("#unlock");
    unlock(&browser);
    browser.click("[data-backend='web/b1'] [data-to=maint]");
    wait_text(&browser, "#dialog", "no backend");
    assert_eq!(browser.run("return document.querySelector('#confirm').disabled"), true);
    browser.click("#dialog .sure input");
    browser.click("#confirm");
    wait_text(&browser, "[data-backend='web/b1'] .state", "maint");
    wait_text(&browser, "#alerts", "no backend can take a session");
    browser.click("#undo");
    wait_text(&browser, "[data-backend='web/b1'] .state", "up");
    assert_eq!(set.weir.version(), 3);
    expect_quiet(&browser);
}

#[test]
fn a_strategy_is_changed_and_back_and_not_over_a_newer_version() {
    let set = with_token(Plan::new(2, Script::Banner));
    let browser = visit(&set, (1440, 900));
    browser.click("#unlock");
    unlock(&browser);
    let choose = |word: &str| {
        let script = format!(
            "const it = document.querySelector('select[data-pool=web]'); it.value = {word:?}; \
             it.dispatchEvent(new Event('change'));"
        );
        let _ = browser.run(&script);
        wait_text(&browser, "#dialog", &format!("weirctl pool set web strategy={word}"));
    };
    let shown = |word: &str| {
        let script =
            format!("return document.querySelector('select[data-pool=web]').value === {word:?}");
        browser.wait(word, &script);
    };
    choose("maglev");
    browser.click("#confirm");
    shown("maglev");
    assert_eq!(set.weir.json(&["pool", "show", "web"])["strategy"], "maglev");
    browser.click("#undo");
    shown("round-robin");
    assert_eq!(set.weir.json(&["pool", "show", "web"])["strategy"], "round-robin");
    expect_quiet(&browser);
    // Somebody else changes something between the look and the click.
    choose("random");
    set.weir.ok(&["backend", "weight", "web/b2", "7"]);
    browser.click("#confirm");
    wait_text(&browser, "#dialog", "somebody changed something meanwhile");
    assert_eq!(set.weir.json(&["pool", "show", "web"])["strategy"], "round-robin");
    browser.click("#confirm");
    shown("random");
    // What a version changed, line by line.
    browser.click("[aria-label='What version 4 changed']");
    wait_text(&browser, "#dialog .plus", "weight = 7");
}

#[test]
fn a_session_is_found_looked_at_and_ended() {
    let set = with_token(Plan::new(2, Script::Banner));
    let (mut client, backend) = set.session();
    let browser = visit(&set, (1440, 900));
    browser.type_into("[name=backend]", &format!("web/{backend}"));
    browser.click("#session-form button");
    wait_text(&browser, "#session-words", "1 of 1 session");
    wait_text(&browser, "#session-table", &client.address().to_string());
    browser.click("[aria-label^='Look at session']");
    wait_text(&browser, "#dialog", "Why this backend");
    browser.press(ESCAPE);
    browser.click("[aria-label^='Kill session']");
    unlock(&browser);
    wait_text(&browser, "#dialog", "1 session would be reset");
    browser.click("#confirm");
    client.expect_rst();
    wait_text(&browser, "#toast", "was reset");
    wait_text(&browser, "#session-words", "0 of 0 sessions");
    expect_quiet(&browser);
}

#[test]
fn sessions_that_fit_are_counted_then_ended_at_once_or_at_a_rate() {
    let set = with_token(Plan::new(2, Script::Banner).shards(1));
    let mut clients = Vec::new();
    assert_eq!(set.spread(8, Some(&mut clients)), [4, 4]);
    let browser = visit(&set, (1440, 900));
    let is_hidden = "return document.querySelector('#session-kill').hidden";
    browser.click("#session-form button");
    wait_text(&browser, "#session-words", "8 of 8 sessions");
    assert_eq!(browser.run(is_hidden), true, "without a filter it would be all of them");
    browser.type_into("[name=backend]", "web/b1");
    browser.click("#session-form button");
    wait_text(&browser, "#session-words", "4 of 4 sessions");
    browser.click("#session-kill");
    unlock(&browser);
    wait_text(&browser, "#dialog", "4 sessions with --backend web/b1 would be reset");
    wait_text(&browser, "#dialog .command", "weirctl session kill --backend web/b1");
    browser.click("#confirm");
    wait_text(&browser, "#toast", "4 sessions reset");
    wait_text(&browser, "#session-words", "0 of 0 sessions");
    assert_eq!(set.weir.backend("web/b2")["sessions"], 4);
    // At a rate: a task, which has its end in sight, and is cancelled.
    let _ = browser.run("document.querySelector('[name=backend]').value = ''");
    browser.type_into("[name=pool]", "web");
    browser.click("#session-form button");
    wait_text(&browser, "#session-words", "4 of 4 sessions");
    browser.click("#session-kill");
    wait_text(&browser, "#dialog", "4 sessions with --pool web would be reset");
    browser.type_into("#kill-rate", "1");
    wait_text(&browser, "#dialog .command", "weirctl session kill --pool web --rate 1/s");
    browser.click("#confirm");
    wait_text(&browser, "#toast", "Task 1 ends 4 sessions");
    wait_text(&browser, "#tasks", "Kill of sessions --pool web");
    set.weir.ok(&["task", "cancel", "1"]);
    wait_text(&browser, "#tasks", "cancelled");
    expect_quiet(&browser);
}

/// Gives the number of texts that are seen, and those whose contrast is below 4.5.
const FAINT: &str = include_str!("dashboard/contrast.js");

#[track_caller]
fn expect_contrast(browser: &Browser) {
    let found = browser.run(FAINT);
    assert!(found[0].as_u64().is_some_and(|seen| seen > 60), "{found}");
    assert_eq!(found[1], json!([]));
}

#[test]
fn it_is_readable_dark_and_light_by_keys_and_on_a_phone() {
    let plan = Plan::new(3, Script::Banner);
    let down = weir_tests::net::free(weir_tests::net::own_ip());
    let set = with_token(plan.extern_backend("gone", down).health("{ interval = \"200ms\" }"));
    let browser = visit(&set, (1440, 900));
    wait_text(&browser, "#alerts", "web/gone down for");
    wait_text(&browser, "#health", "1 alert");
    let dark = "return matchMedia('(prefers-color-scheme: dark)').matches";
    let ground = || browser.run("return getComputedStyle(document.body).backgroundColor");
    let before = ground();
    assert_eq!(browser.run(dark), false);
    expect_contrast(&browser);
    browser.press("t");
    assert_ne!(ground(), before, "the key t makes it dark");
    expect_contrast(&browser);
    // The choice holds over a reload; keys lead to sections; help opens and closes.
    browser.open(&format!("http://{}/", set.weir.admin));
    wait_text(&browser, "#link", "live");
    assert_ne!(ground(), before);
    browser.press("?");
    wait_text(&browser, "#dialog[open]", "Keys");
    browser.press(ESCAPE);
    browser.wait("the dialog to close", "return !document.querySelector('#dialog').open");
    browser.press("3");
    browser.wait("the pools", "return document.activeElement.id === 'pools'");
    let outline = "document.querySelector('#theme').focus({focusVisible: true}); \
                   return getComputedStyle(document.querySelector('#theme')).outlineStyle";
    assert_eq!(browser.run(outline), "solid", "the focus is seen");
    // A phone: only tables scroll sideways, in boxes of their own.
    browser.size(390, 844);
    let wide = "return document.documentElement.scrollWidth <= 390 && innerWidth <= 390";
    browser.wait("the page to be as wide as the phone", wide);
    let _ = browser.run("document.querySelector('#session-form button').click()");
    expect_contrast(&browser);
    assert_eq!(browser.run(wide), true);
    expect_quiet(&browser);
    pictures::write_if_asked(&browser);
}

#[test]
fn it_says_since_when_figures_are_old_and_goes_on_by_itself() {
    let mut set = with_token(Plan::new(2, Script::Banner));
    let browser = visit(&set, (1440, 900));
    browser.press("p");
    wait_text(&browser, "#link", "held: figures of");
    browser.press("p");
    wait_text(&browser, "#link", "live");
    set.weir.kill();
    wait_text(&browser, "#link", "connection lost: figures of");
    set.weir.run();
    wait_text(&browser, "#link", "live");
    set.weir.ok(&["backend", "weight", "web/b1", "9"]);
    wait_text(&browser, "[data-backend='web/b1'] [data-act]", "9");
    wait_text(&browser, "#event-list", "weight 1 → 9");
}

#[test]
fn a_weir_without_a_token_says_so() {
    let set = Plan::new(2, Script::Banner).start();
    let browser = visit(&set, (1440, 900));
    let title = "return document.querySelector('[data-to=drain]').title";
    let words = browser.run(title);
    assert!(matches!(&words, Value::String(text) if text.contains("needs the token")), "{words}");
    browser.click("[data-backend='web/b1'] [data-to=drain]");
    unlock(&browser);
    wait_text(&browser, "#dialog", "weir takes no changes over HTTP");
    wait_text(&browser, "#dialog", "weirctl backend drain web/b1");
    assert_eq!(set.weir.version(), 1);
}
