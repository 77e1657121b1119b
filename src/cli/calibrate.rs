//! `tollgate cache calibrate`: the threshold of an embedding model, from labelled pairs of questions.
//!
//! Owns its flags, asking for the vectors by the rule that the configuration names, and the text of the result. Nothing
//! is served, and nothing is recorded. Does not handle the comparison (see `cache::meaning`). Fails with an exit code
//! and a message.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::OpenOptions;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tokio::task::JoinSet;

use super::{Configured, EXIT_CONFIG, EXIT_START, print, print_error, refuse, table};
use crate::cache::meaning::agreement;
use crate::cache::meaning::calibrate::{
    Calibration, CalibrationError, Measured, Pair, WANTED_PRECISION, count, propose, read_pairs,
};
use crate::cache::meaning::vectors::Vector;
use crate::config::{Config, Source, Variables};
use crate::gateway::{self, NoVector};
use crate::runtime::Shared;
use crate::server;

/// As many vectors are asked for at a time.
const AT_A_TIME: usize = 8;
/// With fewer hits, a share of them says little.
const FEW_HITS: usize = 50;
/// The thresholds of the table.
const SHOWN: [f32; 7] = [0.80, 0.85, 0.90, 0.92, 0.94, 0.96, 0.98];

#[derive(Args)]
pub struct Calibrate {
    #[command(flatten)]
    configured: Configured,
    /// A file with a pair of questions in each line, and whether one answer serves both
    ///
    /// As in {"a": "How do I pay?", "b": "How can I pay?", "same": true}
    #[arg(value_name = "PAIRS")]
    pairs: PathBuf,
    /// The least share of hits that are right, above 0 and 1 at most
    #[arg(long, value_name = "SHARE", default_value_t = WANTED_PRECISION, value_parser = share)]
    precision: f64,
}

impl Calibrate {
    /// The file of variables, if one is named.
    pub fn env_file(&self) -> Option<&Path> {
        self.configured.env_file.as_deref()
    }

    /// Runs the command.
    pub fn run(self, variables: &Variables) -> ExitCode {
        let source = Source::find(self.configured.config.clone(), variables);
        let mut config = match Config::load_to_calibrate(&source, variables) {
            Ok(config) => config,
            Err(problems) => return refuse(&problems),
        };
        let Some(section) = &mut config.vector_cache else {
            let message = format!(
                "{source} has no section `vector_cache`: add one with the embedding model, as in\n\
                 vector_cache: {{ enabled: false, embedding_model: text-embedding-3-small }}"
            );
            print_error(&message);
            return ExitCode::from(EXIT_CONFIG);
        };
        section.value.is_enabled = true;
        section.value.file = None;
        let model = section.value.embedding_model.value.clone();
        let done = self.pairs().and_then(|pairs| {
            self.check(&pairs)?;
            let vectors = embed(&config, &pairs)?;
            let measured = measure(&pairs, &vectors)?;
            self.result(&model, &measured)
        });
        match done {
            Ok(text) => {
                print(&text);
                ExitCode::SUCCESS
            }
            Err(message) => {
                print_error(&message);
                ExitCode::from(EXIT_START)
            }
        }
    }

    fn pairs(&self) -> Result<Vec<Pair>, String> {
        let shown = self.pairs.display();
        let file = OpenOptions::new().read(true).open(&self.pairs);
        let file = file.map_err(|e| format!("{shown}: {e}"))?;
        read_pairs(BufReader::new(file)).map_err(|e| format!("{shown}: {e}"))
    }

    /// What their labels lack is told before any vector is paid for.
    fn check(&self, pairs: &[Pair]) -> Result<(), String> {
        let alike = pairs.iter().map(|pair| Measured {
            similarity: 1.0,
            agrees: true,
            same: pair.same,
        });
        match propose(&alike.collect::<Vec<_>>(), self.precision) {
            Ok(_) | Err(CalibrationError::Unreachable(_)) => Ok(()),
            Err(error) => Err(format!("{}: {error}", self.pairs.display())),
        }
    }

    fn result(&self, model: &str, measured: &[Measured]) -> Result<String, String> {
        let proposed = propose(measured, self.precision);
        let mut text = format!("{}\n{}", shown_at(measured), in_words(measured));
        match proposed {
            Ok(Calibration { threshold, counts }) => {
                // Writing to a string cannot fail.
                let _ = write!(
                    text,
                    "The lowest threshold that these pairs show for {model} with a precision of {}:\n{counts}\n\n\
                     vector_cache:\n  embedding_model: {model}\n  threshold: {threshold:.4}",
                    self.precision
                );
                let hits = counts.right + counts.wrong;
                if hits < FEW_HITS {
                    let _ = write!(
                        text,
                        "\n\nHits are few ({hits}): with more pairs of your own questions, the precision says more."
                    );
                }
                Ok(text)
            }
            Err(error @ CalibrationError::Unreachable(_)) => Err(format!(
                "{text}{error}\nAdd pairs, lower --precision, or use another embedding model"
            )),
            Err(error) => Err(format!("{}: {error}", self.pairs.display())),
        }
    }
}

/// A refusal is told with what the upstream says of it.
fn no_vector(text: &str, none: &NoVector) -> String {
    match none {
        NoVector::Refused(_, body) => format!("no vector for {text:?}: {none}: {body:.300}"),
        _ => format!("no vector for {text:?}: {none}"),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    match share > 0.0 && share <= 1.0 {
        true => Ok(share),
        false => Err(CalibrationError::Precision.to_string()),
    }
}

/// How many pairs with one answer no threshold makes hits.
fn in_words(measured: &[Measured]) -> String {
    let same = measured.iter().filter(|pair| pair.same);
    let differ = same.clone().filter(|pair| !pair.agrees).count();
    format!(
        "Of {} pairs with one answer, {differ} differ in their words, and are no hits at any threshold.\n\n",
        same.count()
    )
}

/// What some thresholds make of the pairs.
fn shown_at(measured: &[Measured]) -> String {
    let mut rows = vec![table::row(&["THRESHOLD", "PRECISION", "RECALL", "HITS"])];
    let share = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{share:.3}"));
    rows.extend(SHOWN.iter().map(|threshold| {
        let counts = count(measured, *threshold);
        vec![
            format!("{threshold:.2}"),
            share(counts.precision()),
            share(counts.recall()),
            (counts.right + counts.wrong).to_string(),
        ]
    }));
    table::align(&rows)
}

fn measure(pairs: &[Pair], vectors: &HashMap<String, Vector>) -> Result<Vec<Measured>, String> {
    let measured = pairs.iter().map(|pair| {
        let of = |text: &str| vectors.get(text).ok_or("a vector is missing");
        let (a, b) = (of(&pair.a)?, of(&pair.b)?);
        if a.numbers().len() != b.numbers().len() {
            return Err("the model has given vectors of different lengths");
        }
        Ok(Measured {
            similarity: a.similarity(b),
            agrees: agreement::agree(&pair.a, &pair.b),
            same: pair.same,
        })
    });
    measured
        .collect::<Result<_, &'static str>>()
        .map_err(str::to_owned)
}

/// The vector of each text.
fn embed(config: &Config, pairs: &[Pair]) -> Result<HashMap<String, Vector>, String> {
    let mut texts: Vec<&str> = pairs
        .iter()
        .flat_map(|pair| [pair.a.as_str(), pair.b.as_str()])
        .collect();
    texts.sort_unstable();
    texts.dedup();
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let vectors = tokio.block_on(async {
        let prepared = server::prepare(config, None).await;
        let (shared, _orders) = prepared.map_err(|e| e.to_string())?;
        embed_all(&shared, &texts).await
    });
    tokio.shutdown_background();
    vectors
}

async fn embed_all(
    shared: &Arc<Shared>,
    texts: &[&str],
) -> Result<HashMap<String, Vector>, String> {
    let mut vectors = HashMap::with_capacity(texts.len());
    let mut asking = JoinSet::new();
    let mut left = texts.iter();
    loop {
        while asking.len() < AT_A_TIME
            && let Some(text) = left.next()
        {
            let (shared, text) = (Arc::clone(shared), (*text).to_owned());
            asking.spawn(async move {
                let vector = gateway::embed(&shared, &text).await;
                (text, vector)
            });
        }
        let Some(done) = asking.join_next().await else {
            return Ok(vectors);
        };
        let (text, vector) = done.map_err(|e| e.to_string())?;
        let vector = vector.map_err(|none| no_vector(&text, &none))?;
        vectors.insert(text, vector);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibrate() -> Calibrate {
        Calibrate {
            configured: Configured {
                config: None,
                env_file: None,
            },
            pairs: PathBuf::from("p.jsonl"),
            precision: WANTED_PRECISION,
        }
    }

    fn measured(similarity: f32, same: bool) -> Measured {
        Measured {
            similarity,
            agrees: true,
            same,
        }
    }

    #[test]
    fn the_result_can_be_copied_into_the_configuration() {
        let pairs = [measured(0.95, true), measured(0.85, false)];
        let text = calibrate().result("small", &pairs).unwrap();
        let row = "0.94       1.000      1.000   1\n";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("  threshold: 0.9"), "{text}");
        assert!(text.contains("Hits are few (1)"), "{text}");
        assert!(
            text.contains("Of 1 pairs with one answer, 0 differ"),
            "{text}"
        );
    }

    #[test]
    fn a_precision_that_cannot_be_had_is_told_with_the_best() {
        let pairs = [measured(0.95, false), measured(0.85, true)];
        let told = calibrate().result("small", &pairs).unwrap_err();
        assert!(
            told.contains("no threshold has the wanted precision"),
            "{told}"
        );
        let told = calibrate().result("small", &pairs[1..]).unwrap_err();
        assert!(
            told.starts_with("p.jsonl: no pair has `same: false`"),
            "{told}"
        );
    }
}
