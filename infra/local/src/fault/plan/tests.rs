//! What a plan is refused for, and that chance is the seed's.

use super::*;

fn read(text: &str) -> Result<Plan, PlanError> {
    Plan::read(text, &["ws-message".to_owned(), "turn-worker".to_owned()])
}

const PUT: Call<'_> = Call {
    target: Target::Dynamodb,
    name: "PutItem",
    function: "turn-worker",
};

/// For each of a hundred calls, whether it met with a fault, and how long its delay was.
fn run(text: &str) -> Vec<Option<u64>> {
    let mut plan = read(text).unwrap();
    let calls = (0..100).map(|_| match plan.strike(&PUT).first()?.fault {
        Fault::Delay { delay_ms, .. } => Some(delay_ms),
        _ => Some(0),
    });
    calls.collect()
}

/// Second rules, and what they are refused for.
const WRONG: &[(&str, &str)] = &[
    (
        "{target: redis, fault: cut}",
        "rule 2, field target: redis is not",
    ),
    ("{target: sqs}", "rule 2: missing field `fault`"),
    (
        "{target: sqs, fault: fire}",
        "rule 2, field fault: unknown variant `fire`",
    ),
    (
        "{target: sqs, fault: cut, chance: 1}",
        "unknown field `chance`",
    ),
    (
        "{target: sqs, fault: cut, probability: 1.5}",
        "rule 2, field probability: it is not",
    ),
    (
        "{target: sqs, fault: cut, probability: .nan}",
        "rule 2, field probability: it is not",
    ),
    (
        "{target: sqs, fault: cut, times: -1}",
        "rule 2, field times: invalid type",
    ),
    (
        "{target: sqs, fault: cut, times: 0}",
        "rule 2, field times: it is 0",
    ),
    (
        "{target: sqs, fault: status}",
        "rule 2, field status: a status between",
    ),
    (
        "{target: sqs, fault: status, status: 200}",
        "rule 2, field status: a status between",
    ),
    (
        "{target: sqs, fault: delay}",
        "rule 2, field delay_ms: a time of at most",
    ),
    (
        "{target: sqs, fault: delay, delay_ms: 1, jitter_ms: 2}",
        "rule 2, field jitter_ms",
    ),
    (
        "{target: sqs, fault: cut, bytes: 9}",
        "rule 2, field bytes: an answer has",
    ),
    (
        "{target: sqs, fault: cut, delay_ms: 9}",
        "rule 2, field delay_ms: this kind",
    ),
    (
        "{target: sqs, fault: duplicate, moment: after}",
        "rule 2, field moment: this kind",
    ),
    (
        "{target: sqs, fault: cut, call: send}",
        "rule 2, field call: send is no operation",
    ),
    (
        "{target: llm, fault: cut, call: POST}",
        "rule 2, field call: POST is no path",
    ),
    (
        "{target: dynamodb, fault: kill, call: PutItems}",
        "rule 2, field call: PutItems is no operation of it that functions call; there are BatchExecute",
    ),
    (
        "{target: sqs, fault: cut, call: PutItem}",
        "rule 2, field call: PutItem is no operation",
    ),
    (
        "{target: llm, fault: cut, call: /v1/chat/completion}",
        "rule 2, field call: /v1/chat/completion is no path",
    ),
    (
        "{target: sqs, fault: kill, bytes: 9}",
        "rule 2, field bytes: an answer has",
    ),
    (
        "{target: sqs, fault: kill, status: 500}",
        "rule 2, field status: this kind",
    ),
    (
        "{target: connections, fault: cut, call: PUT}",
        "rule 2, field call: PUT is no method of it; there are POST",
    ),
    (
        "{target: '*', fault: cut, call: PutItem}",
        "rule 2, field call: all targets",
    ),
    (
        "{target: sqs, fault: cut, function: w}",
        "there is no w; there are ws-message, turn-worker",
    ),
];

#[test]
fn a_wrong_plan_is_refused_by_its_rule_and_its_field() {
    for (rule, expected) in WRONG {
        let text = format!("rules:\n- {{target: sqs, fault: cut}}\n- {rule}\n");
        let said = read(&text).unwrap_err().to_string();
        assert!(said.contains(expected), "{rule}: {said}");
    }
    for (text, expected) in [
        ("rules: 3", "the plan: invalid type"),
        ("seed: x\nrules: []", "the plan, field seed: invalid"),
        ("rules: [", "at line 2 column 1"),
        ("", "rules"),
    ] {
        let said = read(text).unwrap_err().to_string();
        assert!(said.contains(expected), "{text}: {said}");
    }
    let many = format!("rules: [{}]", "{target: sqs, fault: cut},".repeat(101));
    assert!(matches!(read(&many), Err(PlanError::TooLong(101))));
}

#[test]
fn json_is_a_plan_too() {
    assert!(read(r#"{"seed": 1, "rules": [{"target": "sqs", "fault": "cut"}]}"#).is_ok());
}

#[test]
fn the_same_seed_makes_the_same_faults_and_another_one_others() {
    let plan = |seed: u64| {
        format!(
            "seed: {seed}\nrules: [{{target: dynamodb, fault: delay, delay_ms: 500, \
             jitter_ms: 400, probability: 0.5}}]"
        )
    };
    let (once, again, other) = (run(&plan(1)), run(&plan(1)), run(&plan(2)));
    assert_eq!(once, again);
    assert_ne!(once, other);
    let struck: Vec<u64> = once.into_iter().flatten().collect();
    assert!((30..70).contains(&struck.len()), "{}", struck.len());
    assert!(struck.iter().all(|delay_ms| (100..=900).contains(delay_ms)));
    assert!(struck.iter().min() < Some(&300) && struck.iter().max() > Some(&700));
}

#[test]
fn one_rules_chance_does_not_depend_on_another_rule() {
    let coin = "{target: dynamodb, fault: delay, delay_ms: 1, probability: 0.5}";
    let mut alone = read(&format!("rules: [{{target: sqs, fault: cut}}, {coin}]")).unwrap();
    let other = "{target: dynamodb, fault: delay, delay_ms: 9, probability: 0.3}";
    let mut beside = read(&format!("rules: [{other}, {coin}]")).unwrap();
    let coin_of = |plan: &mut Plan| {
        let struck = plan.strike(&PUT);
        struck.iter().any(|strike| strike.rule == "rule 2")
    };
    for _ in 0..100 {
        assert_eq!(coin_of(&mut alone), coin_of(&mut beside));
    }
}

#[test]
fn every_call_that_is_known_may_be_named() {
    let named = [
        ("dynamodb", DYNAMODB_CALLS),
        ("sqs", SQS_CALLS),
        ("connections", CONNECTIONS_CALLS),
        ("llm", LLM_ENDS),
    ];
    for (target, calls) in named {
        for call in calls {
            let rule = format!("rules: [{{target: {target}, call: {call}, fault: kill}}]");
            assert!(read(&rule).is_ok(), "{rule}");
        }
    }
}

#[test]
fn after_skips_and_times_ends() {
    let struck = run("rules: [{target: dynamodb, fault: cut, after: 3, times: 2}]");
    let places: Vec<usize> = (0..struck.len())
        .filter(|&place| struck[place].is_some())
        .collect();
    assert_eq!(places, [3, 4]);
}

#[test]
fn only_what_a_rule_names_meets_with_its_fault() {
    let cases = [
        ("target: dynamodb", true),
        ("target: '*'", true),
        ("target: sqs", false),
        ("target: dynamodb, call: PutItem", true),
        ("target: dynamodb, call: Query", false),
        ("target: dynamodb, function: turn-worker", true),
        ("target: dynamodb, function: ws-message", false),
    ];
    for (names, expected) in cases {
        let struck = run(&format!("rules: [{{{names}, fault: cut}}]"));
        assert_eq!(struck[0].is_some(), expected, "{names}");
    }
}

#[test]
fn delays_add_up_before_the_first_other_fault() {
    let mut plan = read(
        "rules:\n\
         - {target: dynamodb, fault: delay, delay_ms: 10}\n\
         - {target: dynamodb, fault: delay, delay_ms: 5, moment: after}\n\
         - {target: dynamodb, fault: delay, delay_ms: 20}\n\
         - {target: dynamodb, fault: status, status: 500}\n\
         - {target: dynamodb, fault: cut}\n",
    )
    .unwrap();
    let faults: Vec<Fault> = plan
        .strike(&PUT)
        .into_iter()
        .map(|strike| strike.fault)
        .collect();
    assert_eq!(faults.len(), 4);
    assert_eq!(Moment::Before.delay(&faults), Duration::from_millis(30));
    assert_eq!(Moment::After.delay(&faults), Duration::from_millis(5));
    assert_eq!(faults[3].kind(), "status");
}
