use super::*;

const LISTING: &str = "table bridge isospin {
\tcomment \"of a test\"
\tset g4 {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 10.0.0.0/24, 10.0.1.1,
\t\t\t     10.0.2.1 }
\t}

\tmap ports {
\t\ttype ifname : verdict
\t\telements = { \"tap1\" : jump p1 }
\t}

\tset empty {
\t\ttype ipv4_addr
\t}

\tchain forward {
\t\ttype filter hook forward priority -150; policy accept;
\t\tiifname vmap @ports
\t}

\tchain p1 {
\t\tcomment \"abc\"
\t\tip saddr { 10.0.0.1,
\t\t\t   10.0.0.2 } counter packets 5 bytes 300 accept comment \"an address, or { two\"
\t\tcounter packets 0 bytes 0 drop
\t}
}
table ip other {
}
";

#[test]
fn a_listing_is_taken_apart() {
    let mut tables = parse(LISTING);
    assert_eq!(tables.remove(&("ip".into(), "other".into())), Some(Table::default()));
    let table = tables.remove(&("bridge".into(), "isospin".into())).unwrap();
    assert_eq!(table.comment.as_deref(), Some("of a test"));
    assert_eq!(table.sets["g4"].elements, ["10.0.0.0/24", "10.0.1.1", "10.0.2.1"]);
    assert!(table.sets["empty"].elements.is_empty());
    assert_eq!(table.sets["ports"].elements, ["\"tap1\" : jump p1"]);
    assert!(table.sets["ports"].is_map && !table.sets["g4"].is_map);
    assert_eq!(table.chains["forward"].hook.as_deref(), Some("type filter hook forward priority -150; policy accept;"));
    let chain = &table.chains["p1"];
    assert_eq!((chain.comment.as_deref(), chain.rules.len()), (Some("abc"), 2));
    assert_eq!(chain.rules[0].text, "ip saddr { 10.0.0.1, 10.0.0.2 } counter accept");
    assert_eq!(chain.rules[0].comment.as_deref(), Some("an address, or { two"));
    assert_eq!(chain.rules[1], Rule { text: "counter drop".into(), comment: None });
}

#[test]
fn a_refusal_names_the_line() {
    let report = "<cmdline>:2:1-9: Error: No such file or directory\nadd rule ip t c accept\n         ^\n";
    let error = refused("add table ip t\nadd rule ip t c accept\n", report);
    assert!(error.is_missing());
    assert_eq!(error.to_string(), "nftables refused `add rule ip t c accept`: No such file or directory");
}
