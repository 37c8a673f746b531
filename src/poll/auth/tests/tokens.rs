//! Which tokens are asked for, what their answers give, and when they may be used.

use super::*;

#[test]
fn each_grant_asks_as_rfc_6749_has_it() {
    let check = |oauth2: Oauth2, expected: &str, authorization: Option<&str>| {
        let asked = oauth2.needs(None, &scope(), now()).unwrap().unwrap();
        assert_eq!(form(&asked), expected);
        let request = asked.request();
        assert_eq!(request.url, "https://auth.example.com/token");
        assert_eq!(request.method, Method::POST);
        assert_eq!(header(request, "Authorization").as_deref(), authorization);
        let kind = "application/x-www-form-urlencoded";
        assert_eq!(header(request, "Content-Type").as_deref(), Some(kind));
    };
    let extras = "scope=reports.read+b&audience=https%3A%2F%2Fa%2F";
    // `id+1%3A:hush-c%26%2B`: encoded as in a form, then in base64.
    let basic = Some("Basic aWQrMSUzQTpodXNoLWMlMjYlMkI=");
    check(
        oauth2(Grant::ClientCredentials, ClientAuth::Basic),
        &format!("grant_type=client_credentials&{extras}"),
        basic,
    );
    let client = "client_id=id+1%3A&client_secret=hush-c%26%2B";
    check(
        oauth2(Grant::ClientCredentials, ClientAuth::Body),
        &format!("grant_type=client_credentials&{extras}&{client}"),
        None,
    );
    check(
        by_refresh("${{ secret.r }}"),
        &format!("grant_type=refresh_token&refresh_token=hush-r&{extras}&{client}"),
        None,
    );
    let password = Grant::Password {
        username: credential("u"),
        password: credential("${{ secret.p }}"),
    };
    check(
        oauth2(password, ClientAuth::Basic),
        &format!("grant_type=password&username=u&password=hush-p&{extras}"),
        basic,
    );
    let public = Client::new(template("pub"), None, ClientAuth::Basic);
    let url = template("https://auth.example.com/token");
    let public = Oauth2::new(url, public, Grant::ClientCredentials, Extras::default());
    check(
        public.unwrap(),
        "grant_type=client_credentials&client_id=pub",
        None,
    );
    let reserved = Extras {
        params: vec![("grant_type".to_owned(), credential("x"))],
        ..Extras::default()
    };
    let client = Client::new(template("c"), None, ClientAuth::Body);
    let refused = Oauth2::new(template("u"), client, Grant::ClientCredentials, reserved);
    assert_eq!(
        refused.unwrap_err(),
        AuthFault::Reserved("grant_type".to_owned())
    );
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    let oauth2 = oauth2(Grant::ClientCredentials, ClientAuth::Basic);
    let asked = oauth2.renewal(None, &scope()).unwrap();
    let check = |expires_in: Value, ends: Option<u64>, due: &[(u64, bool)]| {
        let body =
            json!({"access_token": "hush-1", "token_type": "Bearer", "expires_in": expires_in});
        let held = committed(asked.read_answer(&body, now()).unwrap());
        assert_eq!(held.expires_at(), ends.map(after), "{expires_in}");
        for &(seconds, expected) in due {
            assert_eq!(
                held.is_due(after(seconds)),
                expected,
                "{expires_in} at {seconds}"
            );
            let needs = oauth2.needs(Some(&held), &scope(), after(seconds)).unwrap();
            assert_eq!(needs.is_some(), expected, "{expires_in} at {seconds}");
        }
    };
    check(
        json!(3600),
        Some(3600),
        &[(0, false), (3539, false), (3540, true), (9999, true)],
    );
    check(json!("3600"), Some(3600), &[(3539, false), (3540, true)]);
    check(json!(40), Some(40), &[(19, false), (20, true)]);
    check(json!(0), Some(0), &[(0, true)]);
    check(Value::Null, None, &[(0, false), (999_999_999, false)]);
    check(json!(1e17), Some(315_360_000), &[(0, false)]);
}

#[test]
fn a_rotated_token_is_used_only_after_it_is_committed() {
    let oauth2 = by_refresh("${{ secret.r }}");
    let asked = oauth2.renewal(None, &scope()).unwrap();
    let body = json!({"access_token": "hush-1", "refresh_token": "hush-r2", "expires_in": 100});
    let renewed = asked.read_answer(&body, now()).unwrap();
    // A store that fails gives the tokens back: they are nowhere else.
    let failed = ready(renewed.commit(|_| async { Err("disk full") })).unwrap_err();
    assert_eq!(failed.to_string(), "the tokens cannot be stored: disk full");
    let CommitError::Store { renewed, .. } = failed else {
        panic!("{failed:?}");
    };
    let mut row = Value::Null;
    let stored = ready(renewed.commit(|json| {
        row = json;
        async { Ok::<(), String>(()) }
    }));
    assert_eq!(stored.unwrap().rotations(), 1);
    let held: TokenState = serde_json::from_value(row).unwrap();
    assert_eq!((held.rotations(), held.expires_at()), (1, Some(after(100))));
    let mut request = request();
    let auth = Auth::Oauth2(oauth2);
    auth.apply(&mut request, &scope(), Some(&held)).unwrap();
    assert_eq!(
        header(&request, "Authorization").as_deref(),
        Some("Bearer hush-1")
    );
}

#[test]
fn the_newest_refresh_token_is_the_one_that_is_sent() {
    let oauth2 = by_refresh("${{ secret.r }}");
    let sent = |oauth2: &Oauth2, held: Option<&TokenState>| {
        let asked = oauth2.renewal(held, &scope()).unwrap();
        let form = form(&asked);
        let (_, rest) = form.split_once("refresh_token&refresh_token=").unwrap();
        (rest.split('&').next().unwrap().to_owned(), asked)
    };
    let answer = |asked: &TokenRequest, refresh: Value| {
        let body = json!({"access_token": "hush-1", "refresh_token": refresh});
        committed(asked.read_answer(&body, now()).unwrap())
    };
    let (token, asked) = sent(&oauth2, None);
    assert_eq!(token, "hush-r");
    let rotated = answer(&asked, json!("hush-r2"));
    let (token, asked) = sent(&oauth2, Some(&rotated));
    assert_eq!(token, "hush-r2");
    // Without a new one, or with the same, the old one stays.
    let kept = answer(&asked, Value::Null);
    assert_eq!(
        (sent(&oauth2, Some(&kept)).0.as_str(), kept.rotations()),
        ("hush-r2", 1)
    );
    let kept = answer(&asked, json!("hush-r2"));
    assert_eq!(
        (sent(&oauth2, Some(&kept)).0.as_str(), kept.rotations()),
        ("hush-r2", 1)
    );
    // What an operator wrote into the file since then wins.
    let configured = by_refresh("${{ secret.another }}");
    assert_eq!(sent(&configured, Some(&rotated)).0, "hush-another");
    assert!(!configured.can_begin_anew());
}

#[test]
fn a_first_grant_that_gave_a_refresh_token_uses_it() {
    let oauth2 = oauth2(Grant::ClientCredentials, ClientAuth::Basic);
    let asked = oauth2.renewal(None, &scope()).unwrap();
    let body = json!({"access_token": "hush-1", "refresh_token": "hush-r"});
    let held = committed(asked.read_answer(&body, now()).unwrap());
    assert_eq!(held.rotations(), 0, "the first one replaces none");
    let next = form(&oauth2.renewal(Some(&held), &scope()).unwrap());
    assert!(next.starts_with("grant_type=refresh_token&refresh_token=hush-r&"));
    assert!(oauth2.can_begin_anew());
}

#[test]
fn an_answer_that_is_none_says_what_it_lacks() {
    let oauth2 = oauth2(Grant::ClientCredentials, ClientAuth::Basic);
    let asked = oauth2.renewal(None, &scope()).unwrap();
    let check = |body: Value, expected: AuthError| {
        let error = asked.read_answer(&body, now()).unwrap_err();
        assert_eq!(error, expected, "{body}");
        assert!(!format!("{error} {error:?}").contains(HUSH), "{error}");
    };
    let refused = |code| AuthError::Refused { code };
    let invalid = json!({"error": "invalid_grant", "error_description": "hush-r is revoked"});
    check(invalid, refused("invalid_grant"));
    check(
        json!({"error": "hush-a", "access_token": "x"}),
        refused("another code"),
    );
    check(json!({"error": {"code": "hush"}}), refused("another code"));
    let answer = |field| AuthError::Answer { field };
    for body in [
        json!({}),
        json!([]),
        json!("hush"),
        Value::Null,
        json!({"access_token": ""}),
    ] {
        check(body, answer("access_token"));
    }
    check(
        json!({"access_token": "hush\nX: y"}),
        answer("access_token"),
    );
    check(
        json!({"access_token": "x".repeat(65 * 1024)}),
        answer("access_token"),
    );
    check(
        json!({"access_token": "hush", "refresh_token": 5}),
        answer("refresh_token"),
    );
    check(
        json!({"access_token": "hush", "token_type": "mac"}),
        answer("token_type"),
    );
    check(
        json!({"access_token": "hush", "expires_in": -1}),
        answer("expires_in"),
    );
    check(
        json!({"access_token": "hush", "expires_in": "soon"}),
        answer("expires_in"),
    );
}
