//! What is usual, as it is smoothed.

use super::*;

const NOW: Time = Time(1_700_000_000_000);

#[test]
fn what_is_usual_moves_by_the_time_that_passed() {
    let over = Duration::from_secs(600);
    let usual = |seconds: u64| {
        let at = NOW.minus(Duration::from_secs(seconds));
        smoothed(Some(Calm { bps: 1000, at }), 2000, NOW, over)
    };
    assert_eq!(smoothed(None, 2000, NOW, over), Calm { bps: 2000, at: NOW });
    assert_eq!(usual(0), Calm { bps: 1000, at: NOW });
    assert_eq!(usual(200), Calm { bps: 1250, at: NOW });
    assert_eq!(usual(600).bps, 1500);
    // Whatever was not seen for long moves it by four fifths at the most.
    assert_eq!((usual(2400).bps, usual(1_000_000).bps), (1800, 1800));
    // And back.
    assert_eq!(smoothed(Some(Calm { bps: 1000, at: NOW.minus(over) }), 0, NOW, over).bps, 500);
    assert_eq!(smoothed(Some(Calm { bps: 1000, at: NOW.plus(over) }), 0, NOW, over).bps, 1000);
}

#[test]
fn a_list_ends_where_it_is_too_long() {
    let names: Vec<NodeId> =
        (1..=10).map(|number| crate::model::Name::new(&format!("n{number}")).expect("a name")).collect();
    let of = |many: usize| list(&names.iter().take(many).collect::<Vec<_>>());
    assert_eq!((of(2).as_str(), of(10).as_str()), ("n1, n2", "n1, n2, n3, n4, n5, n6, n7, n8 and 2 more"));
    assert_eq!(of(8), "n1, n2, n3, n4, n5, n6, n7, n8");
}
