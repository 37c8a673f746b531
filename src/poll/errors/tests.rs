//! What answers mean, by the rules of a file and by the table after them.

use http::HeaderValue;
use serde_json::json;

use super::rule::*;
use super::*;
use crate::delivery::status::Statuses;

/// A condition on the body alone.
struct Of(fn(&Value) -> Result<bool, String>);

impl Holds<AnswerContext<'_>> for Of {
    fn holds(&self, context: &AnswerContext<'_>) -> Result<bool, String> {
        (self.0)(context.body.unwrap_or(&Value::Null))
    }
}

const NONE: Renewals = renewals(false, false);
const TOKEN: Renewals = renewals(true, false);
const SESSION: Renewals = renewals(false, true);
const BOTH: Renewals = renewals(true, true);

const fn renewals(token: bool, session: bool) -> Renewals {
    Renewals { token, session }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An answer and what it borrows.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Option<Value>,
    raw: Vec<u8>,
    retry_after: Option<Duration>,
    remaining: Option<u64>,
    reset: Option<Duration>,
}

fn answer(status: u16) -> Answer {
    Answer {
        status,
        headers: HeaderMap::new(),
        body: Some(json!({})),
        raw: b"{}".to_vec(),
        retry_after: None,
        remaining: None,
        reset: None,
    }
}

fn says(status: u16, body: Value) -> Answer {
    Answer {
        raw: body.to_string().into_bytes(),
        body: Some(body),
        ..answer(status)
    }
}

fn context(answer: &Answer) -> AnswerContext<'_> {
    AnswerContext {
        status: answer.status,
        headers: &answer.headers,
        body: answer.body.as_ref(),
        session: None,
        cursor: None,
        chance: 0.5,
    }
}

fn judge_with(rules: &ErrorRules, answer: &Answer, renewed: Renewals) -> Judged {
    let answered = Answered {
        context: context(answer),
        raw: &answer.raw,
        retry_after: answer.retry_after,
        remaining: answer.remaining,
        reset: answer.reset,
    };
    rules.judge(&Seen::Answered(&answered), renewed)
}

fn rules(specs: Vec<RuleSpec>) -> ErrorRules {
    let rules = specs.into_iter().map(|spec| Rule::new(spec).unwrap());
    ErrorRules::new(rules.collect(), BOTH).unwrap()
}

fn judge(specs: Vec<RuleSpec>, answer: &Answer) -> Judgement {
    judge_with(&rules(specs), answer, NONE).judgement
}

fn status(texts: &[&str]) -> Vec<Statuses> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn body(condition: fn(&Value) -> Result<bool, String>) -> Option<AnswerCondition> {
    Some(Arc::new(Of(condition)))
}

/// A rule that holds for 500.
fn on_500(action: Action) -> RuleSpec {
    RuleSpec {
        status: status(&["500"]),
        action,
        ..RuleSpec::default()
    }
}

const CALM: Judgement = Judgement::Retry {
    wait: Asked::Nothing,
};
const LIMITED: Judgement = Judgement::RateLimited {
    wait: Asked::Nothing,
};
const GROWING: Judgement = Judgement::Fail {
    pace: Pace::Growing,
};
const CEILING: Judgement = Judgement::Fail {
    pace: Pace::Ceiling,
};

#[test]
fn without_rules_a_status_says_what_is_to_be_done() {
    let check = |status: u16, expected: Judgement| {
        assert_eq!(judge(vec![], &answer(status)), expected, "{status}");
    };
    for status in [200, 201, 202, 206] {
        check(status, Judgement::Fine);
    }
    for status in [204, 205, 304] {
        check(status, Judgement::Empty);
    }
    for status in [408, 425, 500, 502, 503, 504, 599] {
        check(status, CALM);
    }
    check(429, LIMITED);
    for status in [
        300, 301, 302, 400, 402, 403, 404, 409, 410, 422, 499, 0, 100, 600, 999,
    ] {
        check(status, CEILING);
    }
}

#[test]
fn a_limit_is_told_by_more_than_its_status() {
    let upstream = |seconds| Asked::ByUpstream(secs(seconds));
    let check = |status: u16, with: Answer, expected: Judgement| {
        let with = Answer { status, ..with };
        assert_eq!(judge(vec![], &with), expected, "{status}");
    };
    let after = || Answer {
        retry_after: Some(secs(30)),
        ..answer(0)
    };
    let spent = || Answer {
        remaining: Some(0),
        reset: Some(secs(90)),
        ..answer(0)
    };
    let left = || Answer {
        remaining: Some(1),
        reset: Some(secs(90)),
        ..answer(0)
    };
    let limited = |seconds| Judgement::RateLimited {
        wait: upstream(seconds),
    };
    for status in [403, 429, 503] {
        check(status, after(), limited(30));
        check(status, spent(), limited(90));
    }
    check(403, left(), CEILING);
    check(429, left(), limited(90));
    check(500, after(), Judgement::Retry { wait: upstream(30) });
    // Each good answer may be the last of its budget: its items are taken all the same.
    check(200, spent(), Judgement::Fine);
    check(304, spent(), Judgement::Empty);
    check(404, spent(), CEILING);
    let both = Answer {
        retry_after: Some(secs(5)),
        ..spent()
    };
    check(429, both, limited(5));
}

#[test]
fn credentials_are_renewed_once_and_then_a_person_has_to_look() {
    let session = Judgement::RenewSession {
        cursor: AfterRenewal::Kept,
        gap: false,
    };
    let check = |renewable: Renewals, renewed: Renewals, expected: &Judgement| {
        let rules = ErrorRules::new(vec![], renewable).unwrap();
        let judged = judge_with(&rules, &answer(401), renewed);
        assert_eq!(&judged.judgement, expected, "{renewable:?} {renewed:?}");
    };
    check(NONE, NONE, &Judgement::Pause);
    check(TOKEN, NONE, &Judgement::RenewToken);
    check(TOKEN, TOKEN, &Judgement::Pause);
    check(SESSION, NONE, &session);
    check(SESSION, SESSION, &Judgement::Pause);
    check(BOTH, NONE, &Judgement::RenewToken);
    check(BOTH, TOKEN, &session);
    check(BOTH, BOTH, &Judgement::Pause);
}

#[test]
fn a_body_that_cannot_be_decoded_is_no_empty_page() {
    let html = Answer {
        body: None,
        raw: b"<html>maintenance</html>".to_vec(),
        ..answer(200)
    };
    assert_eq!(judge(vec![], &html), GROWING);
    let maintenance = RuleSpec {
        body_contains: Some("<html".to_owned()),
        wait: Wait::Fixed(secs(60)),
        note: Some("maintenance".to_owned()),
        ..RuleSpec::default()
    };
    let judged = judge_with(&rules(vec![maintenance]), &html, NONE);
    let wait = Asked::ByRule(secs(60));
    assert_eq!(judged.judgement, Judgement::Retry { wait });
    assert_eq!(judged.rule, Some(0));
    assert_eq!(judged.note.as_deref(), Some("maintenance"));
}

#[test]
fn the_first_rule_that_holds_counts_also_for_a_good_answer() {
    let says_session = RuleSpec {
        body: body(|body| Ok(body["err"] == "SESSION")),
        action: Action::RenewSession,
        ..RuleSpec::default()
    };
    let all = RuleSpec {
        status: status(&["2xx"]),
        action: Action::Fail,
        ..RuleSpec::default()
    };
    let rules = rules(vec![says_session, all]);
    let check = |body: Value, expected: usize| {
        let judged = judge_with(&rules, &says(200, body), NONE);
        assert_eq!(judged.rule, Some(expected));
    };
    check(json!({"err": "SESSION"}), 0);
    check(json!({"rows": []}), 1);
    assert_eq!(judge_with(&rules, &answer(404), NONE).rule, None);
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let spec = || RuleSpec {
        status: status(&["409", "5xx"]),
        header: vec![("x-error".to_owned(), "maint".to_owned())],
        body_contains: Some("webhook".to_owned()),
        body: body(|body| Ok(body["ok"] == false)),
        action: Action::Pause,
        ..RuleSpec::default()
    };
    let good = || {
        let mut answer = says(503, json!({"ok": false, "why": "a webhook is set"}));
        let values = ["other", "maint"].map(HeaderValue::from_static);
        for value in values {
            answer.headers.append("X-Error", value);
        }
        answer
    };
    let check = |answer: Answer, is_paused: bool| {
        let judgement = judge(vec![spec()], &answer);
        assert_eq!(judgement == Judgement::Pause, is_paused, "{judgement:?}");
    };
    check(good(), true);
    let status = 409;
    check(Answer { status, ..good() }, true);
    let status = 410;
    check(Answer { status, ..good() }, false);
    let headers = HeaderMap::new();
    check(Answer { headers, ..good() }, false);
    let raw = b"{}".to_vec();
    check(Answer { raw, ..good() }, false);
    let body = Some(json!({"ok": true}));
    check(Answer { body, ..good() }, false);
    let body = None;
    check(Answer { body, ..good() }, false);
}

#[test]
fn only_the_front_of_a_body_is_searched() {
    let spec = RuleSpec {
        body_contains: Some("needle".to_owned()),
        action: Action::Pause,
        ..RuleSpec::default()
    };
    let rules = rules(vec![spec]);
    let check = |before: usize, is_found: bool| {
        let raw = ["x".repeat(before).as_bytes(), b"needle and more"].concat();
        let judged = judge_with(&rules, &Answer { raw, ..answer(200) }, NONE);
        assert_eq!(judged.rule.is_some(), is_found, "{before}");
    };
    check(0, true);
    check(SCANNED_BYTES_MAX - 6, true);
    check(SCANNED_BYTES_MAX - 5, false);
}

#[test]
fn a_failure_of_the_network_is_tried_again_unless_a_rule_says_otherwise() {
    let spec = |network: &str, action: Action| RuleSpec {
        network: Some(network.parse().unwrap()),
        action,
        ..RuleSpec::default()
    };
    let some = rules(vec![
        on_500(Action::Fail),
        spec("timeout", Action::Empty),
        spec("tls", Action::Pause),
    ]);
    let any = rules(vec![spec("any", Action::Fail)]);
    let check = |rules: &ErrorRules, network: Network, expected: Judgement| {
        let judged = rules.judge(&Seen::Failed(network), NONE);
        assert_eq!(judged.judgement, expected, "{network:?}");
    };
    check(&some, Network::Timeout, Judgement::Empty);
    check(&some, Network::Tls, Judgement::Pause);
    for network in [Network::Connect, Network::Dns, Network::Broken] {
        check(&some, network, CALM);
        check(&any, network, CEILING);
    }
    assert_eq!(judge_with(&any, &answer(200), NONE).rule, None);
}

#[test]
fn a_rule_waits_as_it_says_or_as_the_upstream_asks() {
    let read = |read: fn(&Value) -> Option<u64>| -> Wait {
        Wait::Read(Arc::new(move |context| {
            let seconds = context.body.and_then(read);
            seconds.map(secs).ok_or_else(|| "no number".to_owned())
        }))
    };
    let check = |wait: Wait, body: Value, expected: Asked| {
        let spec = RuleSpec {
            status: status(&["429"]),
            action: Action::RateLimited,
            wait,
            ..RuleSpec::default()
        };
        let answer = Answer {
            retry_after: Some(secs(7)),
            ..says(429, body)
        };
        let expected = Judgement::RateLimited { wait: expected };
        assert_eq!(judge(vec![spec], &answer), expected);
    };
    let after = |body: &Value| body["parameters"]["retry_after"].as_u64();
    let says = json!({"parameters": {"retry_after": 12}});
    check(Wait::Fixed(secs(3)), json!({}), Asked::ByRule(secs(3)));
    check(Wait::Unsaid, json!({}), Asked::ByUpstream(secs(7)));
    check(read(after), says, Asked::ByRule(secs(12)));
    check(read(after), json!({}), Asked::ByUpstream(secs(7)));
}

/// What VK says with its `failed`.
fn vk() -> ErrorRules {
    let failed = |action, condition, cursor: Option<ReadCursor>, gap| RuleSpec {
        body: body(condition),
        action,
        cursor,
        gap,
        ..RuleSpec::default()
    };
    let given: ReadCursor = Arc::new(|context| {
        let given = context.body.and_then(|body| body.get("ts"));
        Ok(given.cloned().unwrap_or_default())
    });
    let fresh: ReadCursor = Arc::new(|context| {
        let fresh = context.session.and_then(|session| session.get("ts"));
        fresh.cloned().ok_or_else(|| "no session".to_owned())
    });
    rules(vec![
        failed(
            Action::SetCursor,
            |body| Ok(body["failed"] == 1),
            Some(given),
            true,
        ),
        failed(
            Action::RenewSession,
            |body| Ok(body["failed"] == 2),
            None,
            false,
        ),
        failed(
            Action::RenewSession,
            |body| Ok(body["failed"] == 3),
            Some(fresh),
            true,
        ),
    ])
}

#[test]
fn lost_history_moves_the_cursor_and_a_lost_key_does_not() {
    let check = |body: Value, expected: Judgement| {
        let judged = judge_with(&vk(), &says(200, body), NONE);
        assert_eq!(judged.judgement, expected);
    };
    let cursor = json!("1700");
    let gap = true;
    check(
        json!({"failed": 1, "ts": "1700"}),
        Judgement::SetCursor { cursor, gap },
    );
    let (cursor, gap) = (AfterRenewal::Kept, false);
    check(
        json!({"failed": 2}),
        Judgement::RenewSession { cursor, gap },
    );
    let (cursor, gap) = (AfterRenewal::FromRule(2), true);
    check(
        json!({"failed": 3}),
        Judgement::RenewSession { cursor, gap },
    );
    check(json!({"ts": "1", "updates": []}), Judgement::Fine);
    // With nothing for a cursor the source would begin anew.
    check(json!({"failed": 1}), GROWING);
}

#[test]
fn a_renewed_session_gives_the_cursor_that_its_rule_asks_for() {
    let rules = vk();
    let answer = says(200, json!({"failed": 3}));
    let session = json!({"ts": "9"});
    let renewed = AnswerContext {
        session: Some(&session),
        ..context(&answer)
    };
    assert_eq!(rules.cursor_after(2, &renewed), Ok(json!("9")));
    let without = CursorError::Failed("no session".to_owned());
    assert_eq!(rules.cursor_after(2, &context(&answer)), Err(without));
    for rule in [0, 1, 3] {
        let found = rules.cursor_after(rule, &renewed);
        assert_eq!(found, Err(CursorError::NoCursor));
    }
}

#[test]
fn nothing_is_renewed_over_and_over() {
    let rules = vk();
    let judged = judge_with(&rules, &says(200, json!({"failed": 2})), SESSION);
    assert_eq!(judged.judgement, GROWING);
    assert_eq!(judged.rule, Some(1));
    let judged = judge_with(&rules, &says(200, json!({"failed": 2})), TOKEN);
    assert_ne!(judged.judgement, GROWING);
}

#[test]
fn an_answer_that_cannot_be_judged_is_not_a_good_one() {
    let spec = RuleSpec {
        body: body(|_| Err("too many steps".repeat(100))),
        ..RuleSpec::default()
    };
    let judged = judge_with(&rules(vec![spec]), &answer(200), NONE);
    assert_eq!(judged.judgement, GROWING);
    assert_eq!(judged.rule, Some(0));
    assert_eq!(judged.note.unwrap().chars().count(), NOTE_CHARS_MAX);
}

#[test]
fn each_action_is_known_by_its_word() {
    for action in Action::ALL {
        assert_eq!(action.label().parse(), Ok(action));
    }
    let unknown = "retires".to_owned();
    assert_eq!(unknown.parse::<Action>(), Err(RuleError::Action(unknown)));
    for (action, expected) in [
        (Action::Retry, CALM),
        (Action::RateLimited, LIMITED),
        (Action::RenewToken, Judgement::RenewToken),
        (Action::Empty, Judgement::Empty),
        (Action::Restart, Judgement::Restart { gap: false }),
        (Action::Pause, Judgement::Pause),
        (Action::Fail, CEILING),
    ] {
        assert_eq!(judge(vec![on_500(action)], &answer(500)), expected);
    }
}

#[test]
fn rules_that_do_not_fit_the_source_are_refused() {
    let check = |action: Action, renewable: Renewals, expected: Option<&'static str>| {
        let rules = vec![Rule::new(on_500(action)).unwrap()];
        let expected = expected.map(|what| ErrorRulesError::NothingToRenew { rule: 0, what });
        assert_eq!(ErrorRules::new(rules, renewable).err(), expected);
    };
    check(Action::RenewSession, TOKEN, Some("session"));
    check(Action::RenewSession, SESSION, None);
    check(Action::RenewToken, SESSION, Some("token"));
    check(Action::RenewToken, TOKEN, None);
    let many = (0..=RULES_MAX).map(|_| Rule::new(on_500(Action::Fail)).unwrap());
    let many = ErrorRules::new(many.collect(), NONE);
    assert_eq!(many.err(), Some(ErrorRulesError::TooMany));
}
