//! Keys as providers publish them, and as people write them down: certificates, sets of keys, PEM.
//!
//! Input: what stands at the address of a key, or in the place of a secret.

use hookgate::secret::Secret;
use hookgate::signature::algorithm::{Algorithm, EcdsaForm, Hash};
use hookgate::signature::key::{Key, KeyEncoding, KeyRule};
use hookgate::signature::known_keys::{KeySet, Published};
use hookgate::signature::place::Place;
use hookgate::signature::public_key::PublicForm;
use jiff::Timestamp;

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::Ed25519,
    Algorithm::EcdsaP256Sha256(EcdsaForm::Der),
    Algorithm::Rsa(Hash::Sha1),
    Algorithm::Rsa(Hash::Sha256),
    Algorithm::Jwt,
];

pub fn check(data: &[u8]) {
    let published = [
        Published::KeySet {
            url: "https://keys.example.com/".to_owned(),
        },
        Published::Certificate {
            place: Place::Header("X-Certificate".into()),
            hosts: vec!["keys.example.com".to_owned()],
        },
    ];
    let text = std::str::from_utf8(data).ok();
    for algorithm in ALGORITHMS {
        for published in &published {
            let read = KeySet::read(published, algorithm, data, Timestamp::UNIX_EPOCH);
            let Some(text) = text.filter(|text| !text.is_empty()) else {
                continue;
            };
            let rule = KeyRule {
                encoding: KeyEncoding::Public(PublicForm::Pem),
                published: Some(published.clone()),
                ..KeyRule::plain()
            };
            let key = Key::new(algorithm, &rule, &Secret::new(text));
            // What can be fetched can be written down, too.
            assert!(read.is_err() || key.is_ok());
        }
        for form in [PublicForm::Pem, PublicForm::SpkiBase64, PublicForm::RawHex] {
            let rule = KeyRule {
                encoding: KeyEncoding::Public(form),
                ..KeyRule::plain()
            };
            if let Some(text) = text {
                let _ = Key::new(algorithm, &rule, &Secret::new(text));
            }
        }
    }
}
