//! Writes the metrics of a canary with so many points a side, to be judged by the command: `ten_million POINTS > FILE`.
//! With a second argument the canary's points are that much greater.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io::{BufWriter, Write};

use gennaker_judge::noise::JavaRandom;

fn main() {
    let arguments: Vec<f64> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse().unwrap())
        .collect();
    let (points, shift) = (arguments[0], arguments.get(1).copied().unwrap_or(0.0));
    let mut random = JavaRandom::new(11);
    let mut out = BufWriter::new(std::io::stdout().lock());
    write!(out, r#"{{"pairs":[{{"name":"latency","values":{{"#).unwrap();
    for (side, mean) in [("control", 100.0), ("experiment", 100.0 + shift)] {
        let comma = if side == "control" { "" } else { "," };
        write!(out, r#"{comma}"{side}":["#).unwrap();
        let mut written = 0.0;
        while written < points {
            let comma = if written == 0.0 { "" } else { "," };
            let value = mean + 10.0 * random.next_gaussian();
            write!(out, "{comma}{value:.6}").unwrap();
            written += 1.0;
        }
        write!(out, "]").unwrap();
    }
    writeln!(out, "}}}}]}}").unwrap();
}
