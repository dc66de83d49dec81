//! The language against recorded answers and a simple model, and the files against what operators do to them.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{rules::Mode, *};
use crate::context::Context;

const DEFAULTS: &[&[Default]] = &[&[
    block("context_is_admin", "role:admin"),
    block("admin_only", "rule:context_is_admin"),
    block("regular_user", ""),
    block("owner", "project_id:%(project_id)s"),
    block("default", "rule:context_is_admin or rule:owner"),
    Default {
        name: "get_thing",
        check: "role:reader",
        scope: Scope::Project,
        deprecated: Some(Deprecated { name: "get_things", check: "role:member" }),
    },
]];

const fn block(name: &'static str, check: &'static str) -> Default {
    Default { name, check, scope: Scope::Any, deprecated: None }
}

fn convert(resource: &str, attribute: &str, text: &str) -> Value {
    match (resource, attribute) {
        ("networks", "shared") => Value::Bool(text == "True"),
        _ => text.into(),
    }
}

fn rules(overrides: &[(&str, &str)], new: bool) -> Rules {
    let overrides: BTreeMap<String, FileRule> = overrides
        .iter()
        .map(|(name, rule)| {
            let rule = Language::Text((*rule).to_owned());
            ((*name).to_owned(), FileRule { rule, file: PathBuf::from("policy.yaml"), line: 1 })
        })
        .collect();
    let mode = Mode { default_rule: "default", enforce_new_defaults: new, enforce_scope: true, convert };
    Rules::new(DEFAULTS, &overrides, mode).unwrap()
}

fn caller(project: &str, roles: &[&str]) -> Credentials {
    let mut context = Context::user("u", project, roles.iter().map(|role| (*role).to_owned()).collect());
    context.is_admin = roles.contains(&"admin");
    Credentials::of(&context)
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("not an object: {value}") };
    map
}

fn holds(rules: &Rules, name: &str, target: Value, caller: &Credentials) -> bool {
    rules.holds(rules.resolve(name), &object(target), caller).unwrap()
}

fn refused(text: &str) -> ParseError {
    parse(&Language::Text(text.to_owned()), convert).unwrap_err()
}

#[test]
fn rules_mean_what_the_reference_takes_them_to_mean() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("language.json")).unwrap();
    let rules = rules(&[], true);
    assert!(cases.len() >= 400);
    for case in &cases {
        let language = match &case["rule"] {
            Value::String(text) => Language::Text(text.clone()),
            lists => Language::Lists(
                lists
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|list| match list {
                        Value::String(text) => vec![text.clone()],
                        list => list.as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned()).collect(),
                    })
                    .collect(),
            ),
        };
        let mut check = parse(&language, convert).unwrap_or_else(|error| panic!("{}: {error}", case["rule"]));
        check.link(&|name| rules.resolve(name));
        let roles: Vec<&str> = case["roles"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let caller = caller(case["project_id"].as_str().unwrap(), &roles);
        let target = object(case["target"].clone());
        let held = check.holds(&rules, &target, &caller).unwrap();
        assert_eq!(Value::Bool(held), case["holds"], "{case}");
        // What is known without the target is true with every target.
        assert!(check.known(&rules, &caller).is_none_or(|known| known == held), "{case}");
    }
}

/// A rule as its meaning: which of the roles `a`, `b` and `c` make it hold.
#[derive(Debug, Clone)]
enum Model {
    Role(usize),
    Not(Box<Model>),
    And(Box<Model>, Box<Model>),
    Or(Box<Model>, Box<Model>),
}

const ROLES: [&str; 3] = ["a", "b", "c"];

impl Model {
    fn text(&self) -> String {
        match self {
            Self::Role(role) => format!("role:{}", ROLES[*role]),
            Self::Not(inner) => format!("not ({})", inner.text()),
            Self::And(one, other) => format!("({}) and ({})", one.text(), other.text()),
            Self::Or(one, other) => format!("({}) or ({})", one.text(), other.text()),
        }
    }

    /// With only the parentheses that precedence needs.
    fn bare(&self) -> String {
        let inner = |model: &Self, loose: bool| match model {
            Self::Or(..) => format!("({})", model.bare()),
            Self::And(..) if !loose => format!("({})", model.bare()),
            _ => model.bare(),
        };
        match self {
            Self::Role(_) => self.text(),
            Self::Not(model) => format!("not {}", inner(model, false)),
            Self::And(one, other) => format!("{} AND {}", inner(one, true), inner(other, true)),
            Self::Or(one, other) => format!("{} or {}", one.bare(), other.bare()),
        }
    }

    fn holds(&self, held: [bool; 3]) -> bool {
        match self {
            Self::Role(role) => held[*role],
            Self::Not(inner) => !inner.holds(held),
            Self::And(one, other) => one.holds(held) && other.holds(held),
            Self::Or(one, other) => one.holds(held) || other.holds(held),
        }
    }
}

fn model() -> impl Strategy<Value = Model> {
    (0..3usize).prop_map(Model::Role).prop_recursive(6, 40, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|model| Model::Not(Box::new(model))),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| Model::And(Box::new(one), Box::new(other))),
            (inner.clone(), inner).prop_map(|(one, other)| Model::Or(Box::new(one), Box::new(other))),
        ]
    })
}

proptest! {
    #[test]
    fn and_or_and_not_are_those_of_logic(model in model(), held in any::<[bool; 3]>()) {
        let roles: Vec<&str> = ROLES.into_iter().zip(held).filter(|(_, held)| *held).map(|(role, _)| role).collect();
        let (caller, rules) = (caller("p", &roles), rules(&[], true));
        for text in [model.text(), model.bare()] {
            let check = parse(&Language::Text(text), convert).unwrap();
            prop_assert_eq!(check.holds(&rules, &Map::new(), &caller), Ok(model.holds(held)));
            prop_assert_eq!(check.known(&rules, &caller), Some(model.holds(held)));
        }
    }

    #[test]
    fn no_text_makes_the_parser_fail_otherwise_than_by_telling_where(text in "[ ()@!:%a-z'=~]{0,40}") {
        if let Err(error) = parse(&Language::Text(text.clone()), convert) {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.position));
        }
    }
}

#[test]
fn what_means_nothing_is_refused_with_its_place() {
    for (text, position, reason) in [
        ("role:a role:b", 8, "`and` or `or` is missing"),
        ("role:a and", 11, "a check is missing"),
        ("(role:a or role:b", 1, "without `)`"),
        ("role:a)", 7, "without `(`"),
        ("or role:a", 1, "a check is missing before"),
        ("admin", 1, "is no check"),
        ("role:a and project_id:mine", 12, "must be followed by `%(<attribute>)s`"),
        ("user_id:%(user_id)", 1, "must begin `%(<attribute>)s`"),
        ("field:networks:shared", 1, "must be `field:"),
        ("field:port:x=~(", 1, "no regular expression"),
        ("http://server/check", 1, "would ask another server"),
        (" ", 2, "a check is missing"),
    ] {
        let error = refused(text);
        assert_eq!(error.position, position, "{text}: {error}");
        assert!(error.reason.contains(reason), "{text}: {error}");
    }
    let nested = format!("{}role:a{}", "(".repeat(5000), ")".repeat(5000));
    assert!(refused(&nested).reason.contains("parentheses in each other"));
}

#[test]
fn a_missing_rule_is_the_default_rule() {
    let rules = rules(&[("get_other", "rule:nowhere")], true);
    let member = caller("p", &["member"]);
    for name in ["get_other", "get_nothing"] {
        assert!(holds(&rules, name, json!({"project_id": "p"}), &member));
        assert!(!holds(&rules, name, json!({"project_id": "q"}), &member));
    }
    assert!(rules.find("get_nothing").is_none());
    assert_eq!(rules.warnings(), ["Policies get_other refer to a rule that is not defined."]);
}

#[test]
fn rules_in_a_circle_hold_for_nobody_and_are_told() {
    let rules = rules(&[("one", "rule:two"), ("two", "rule:one or rule:two")], true);
    assert!(!holds(&rules, "one", json!({}), &caller("p", &["admin"])));
    assert!(rules.warnings()[0].contains("one, two refer to each other in a circle"));
}

#[test]
fn older_rules_count_until_they_are_left_behind() {
    let (member, reader) = (caller("p", &["member"]), caller("p", &["reader"]));
    assert!(!holds(&rules(&[], true), "get_thing", json!({}), &member));
    assert!(holds(&rules(&[], false), "get_thing", json!({}), &member));
    assert!(holds(&rules(&[], false), "get_thing", json!({}), &reader));
    // A file that says what the rule is has the last word, by its name or by the older one.
    assert!(!holds(&rules(&[("get_thing", "!")], false), "get_thing", json!({}), &member));
    let renamed = rules(&[("get_things", "role:boss")], true);
    assert!(!holds(&renamed, "get_thing", json!({}), &reader));
    assert!(holds(&renamed, "get_thing", json!({}), &caller("p", &["boss"])));
    let alias = rules(&[("get_things", "rule:get_thing")], true);
    assert!(holds(&alias, "get_thing", json!({}), &reader));
}

#[test]
fn a_token_of_another_scope_is_told_apart() {
    let mut context = Context::user("u", "p", vec!["reader".into()]);
    context.system_scope = Some("all".into());
    let system = Credentials::of(&context);
    assert_eq!(rules(&[], true).wrong_scope("get_thing", &system), Some("project"));
    assert_eq!(rules(&[], true).wrong_scope("owner", &system), None);
    assert_eq!(rules(&[], true).wrong_scope("get_thing", &caller("p", &[])), None);
    let by_scope = rules(&[("get_thing", "system:all")], true);
    assert!(holds(&by_scope, "get_thing", json!({}), &system));
}

#[test]
fn the_owner_of_a_parent_is_asked_of_the_target() {
    let rules = rules(&[("get_thing", "project_id:%(network:project_id)s or field:networks:shared=True")], true);
    let id = rules.find("get_thing");
    assert_eq!(rules.parents(id), [("network", "project_id"), ("network", "shared")]);
    let target = object(json!({"network:project_id": "p"}));
    assert_eq!(rules.holds(id, &target, &caller("p", &[])), Ok(true));
    let fault = rules.holds(id, &Map::new(), &caller("p", &[])).unwrap_err();
    assert!(matches!(fault, Fault::Owner { reason, .. } if reason.contains("parent resource: network was not found")));
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn load(&self) -> Result<Enforcer, PolicyError> {
        let settings = Settings {
            files: vec![self.dir.path().join("absent.yaml"), self.dir.path().join("policy.yaml")],
            dirs: vec![vec![self.dir.path().join("policy.d")]],
            ..Settings::default()
        };
        Enforcer::load(settings, DEFAULTS, convert)
    }
}

#[test]
fn yaml_and_json_are_read_and_later_files_win() {
    let files = Files::new();
    files.write(
        "policy.yaml",
        "# ours\n\"get_thing\": \"role:boss or\n  role:chief\"\nopen:\nlisted: [[\"role:a\", \"role:b\"], role:c]\n",
    );
    files.write("policy.d/10.json", r#"{"get_thing": "role:last", "more": "@"}"#);
    files.write("policy.d/.hidden", "more: '!'");
    let rules = files.load().unwrap().rules();
    let has = |name: &str, roles: &[&str]| holds(&rules, name, json!({}), &caller("p", roles));
    assert!(has("get_thing", &["last"]) && !has("get_thing", &["chief"]));
    assert!(has("open", &[]) && has("more", &[]));
    assert!(has("listed", &["a", "b"]) && has("listed", &["c"]) && !has("listed", &["a"]));
}

#[test]
fn a_file_that_means_nothing_says_where() {
    let files = Files::new();
    files.write("policy.yaml", "a: '@'\nget_thing: role:a and and role:b\n");
    let error = files.load().unwrap_err().chain();
    for part in ["policy.yaml, line 2, rule \"get_thing\"", "at character 12", "`role:<name>`"] {
        assert!(error.contains(part), "{error}");
    }
    files.write("policy.yaml", "- a\n- b\n");
    let error = files.load().unwrap_err().chain();
    assert!(error.contains("must map names of rules to rules"), "{error}");
    files.write("policy.yaml", "a: {b: c}\n");
    assert!(files.load().unwrap_err().chain().contains("line 1, rule \"a\": a rule is a text"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "no task waits for this thread")]
fn a_file_that_changes_is_read_again_and_one_that_breaks_changes_nothing() {
    let files = Files::new();
    let enforcer = files.load().unwrap();
    let has = |role: &str| holds(&enforcer.rules(), "get_thing", json!({}), &caller("p", &[role]));
    assert!(has("reader") && !has("boss"));
    files.write("policy.yaml", "get_thing: role:boss\n");
    enforcer.refresh();
    assert!(!has("reader") && has("boss"));
    files.write("policy.yaml", "get_thing: role:boss or\n");
    enforcer.refresh();
    assert!(has("boss"));
    files.write("policy.d/a.yaml", "get_thing: role:chief\n");
    files.write("policy.yaml", "");
    enforcer.refresh();
    assert!(has("chief") && !has("boss"));
    fs::remove_file(files.dir.path().join("policy.d/a.yaml")).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert!(has("reader"), "within a second of a request without being told");
}

#[test]
fn a_check_takes_microseconds() {
    let rules = rules(&[], true);
    let (member, target) = (caller("p", &["member", "reader"]), object(json!({"project_id": "p"})));
    let began = std::time::Instant::now();
    for _ in 0..1000 {
        assert_eq!(rules.holds(rules.resolve("default"), &target, &member), Ok(true));
    }
    // Far more than that only where each check reads or parses something.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?} for a thousand", began.elapsed());
}
