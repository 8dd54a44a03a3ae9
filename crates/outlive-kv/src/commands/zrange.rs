//! Ranges of sorted sets: by index, by score, by bytes; forwards and backwards.

use bytes::Bytes;

use super::{Args, Outcome, is_word};
use crate::error::CommandError;
use crate::number::{float, float_text, index_range, integer};
use crate::reply::Reply;
use crate::store::View;
use crate::zset::ZSet;

#[derive(Clone, Copy, PartialEq)]
enum By {
    Index,
    Score,
    Bytes,
}

/// What to take and how to show it.
struct RangeOptions {
    by: By,
    reversed: bool,
    with_scores: bool,
    /// How many to skip, how many to take (all where negative).
    limit: Option<(i64, i64)>,
}

pub(super) fn zrange(view: View<'_>, args: Args<'_>) -> Outcome {
    let mut options = RangeOptions {
        by: By::Index,
        reversed: false,
        with_scores: false,
        limit: None,
    };
    let mut rest = &args[3..];
    while let Some((word, after)) = rest.split_first() {
        rest = after;
        match word {
            word if is_word(word, "BYSCORE") && options.by != By::Bytes => options.by = By::Score,
            word if is_word(word, "BYLEX") && options.by != By::Score => options.by = By::Bytes,
            word if is_word(word, "REV") => options.reversed = true,
            word => rest = options.take_common(word, rest)?,
        }
    }
    if options.limit.is_some() && options.by == By::Index {
        return Err(CommandError::LimitByIndex);
    }
    if options.with_scores && options.by == By::Bytes {
        return Err(CommandError::ScoresByLex);
    }
    range(view, args, &options)
}

pub(super) fn zrevrange(view: View<'_>, args: Args<'_>) -> Outcome {
    let with_scores = match &args[3..] {
        [] => false,
        [word] if is_word(word, "WITHSCORES") => true,
        _ => return Err(CommandError::Syntax),
    };
    range(
        view,
        args,
        &RangeOptions {
            by: By::Index,
            reversed: true,
            with_scores,
            limit: None,
        },
    )
}

pub(super) fn zrangebyscore(view: View<'_>, args: Args<'_>) -> Outcome {
    by_score(view, args, false)
}

pub(super) fn zrevrangebyscore(view: View<'_>, args: Args<'_>) -> Outcome {
    by_score(view, args, true)
}

pub(super) fn zcount(view: View<'_>, args: Args<'_>) -> Outcome {
    let (min, max) = (ScoreBorder::parse(args[1])?, ScoreBorder::parse(args[2])?);
    let Some(zset) = view.read::<ZSet>(args[0])? else {
        return Ok(Reply::Int(0));
    };
    Ok(Reply::count(scores_between(zset, min, max).count()))
}

fn by_score(view: View<'_>, args: Args<'_>, reversed: bool) -> Outcome {
    let mut options = RangeOptions {
        by: By::Score,
        reversed,
        with_scores: false,
        limit: None,
    };
    let mut rest = &args[3..];
    while let Some((word, after)) = rest.split_first() {
        rest = options.take_common(word, after)?;
    }
    range(view, args, &options)
}

impl RangeOptions {
    /// Takes an option that all ranges know; returns what follows it.
    fn take_common<'a>(&mut self, word: &[u8], rest: Args<'a>) -> Result<Args<'a>, CommandError> {
        if is_word(word, "WITHSCORES") {
            self.with_scores = true;
            return Ok(rest);
        }
        match rest {
            [skip, take, rest @ ..] if is_word(word, "LIMIT") => {
                self.limit = Some((integer(skip)?, integer(take)?));
                Ok(rest)
            }
            _ => Err(CommandError::Syntax),
        }
    }

    fn show<'a>(&self, found: impl Iterator<Item = (&'a Bytes, f64)>) -> Reply {
        let (skip, take) = self.limit.unwrap_or((0, -1));
        // A negative offset finds nothing, as in Redis.
        let Ok(skip) = usize::try_from(skip) else {
            return Reply::Array(vec![]);
        };
        let take = usize::try_from(take).unwrap_or(usize::MAX);
        let shown = found.skip(skip).take(take).flat_map(|(member, score)| {
            let score = self.with_scores.then(|| Reply::bulk(float_text(score)));
            std::iter::once(Reply::Bulk(member.clone())).chain(score)
        });
        Reply::Array(shown.collect())
    }
}

fn range(view: View<'_>, args: Args<'_>, options: &RangeOptions) -> Outcome {
    // With REV the client names the higher border first, except of a range by index.
    let (low, high) = match (options.by, options.reversed) {
        (By::Index, _) | (_, false) => (args[1], args[2]),
        (_, true) => (args[2], args[1]),
    };
    match options.by {
        By::Index => {
            let (start, stop) = (integer(low)?, integer(high)?);
            let Some(zset) = view.read::<ZSet>(args[0])? else {
                return Ok(Reply::Array(vec![]));
            };
            let wanted = index_range(start, stop, zset.len());
            let (skip, take) = (wanted.start, wanted.len());
            Ok(match options.reversed {
                false => options.show(zset.iter().skip(skip).take(take)),
                true => options.show(zset.iter().rev().skip(skip).take(take)),
            })
        }
        By::Score => {
            let (min, max) = (ScoreBorder::parse(low)?, ScoreBorder::parse(high)?);
            let Some(zset) = view.read::<ZSet>(args[0])? else {
                return Ok(Reply::Array(vec![]));
            };
            Ok(match options.reversed {
                false => options.show(scores_between(zset, min, max)),
                true => {
                    let above = zset
                        .iter()
                        .rev()
                        .skip_while(|(_, score)| !max.is_at_or_above(*score));
                    options.show(above.take_while(|(_, score)| min.is_at_or_below(*score)))
                }
            })
        }
        By::Bytes => {
            let (min, max) = (BytesBorder::parse(low)?, BytesBorder::parse(high)?);
            let Some(zset) = view.read::<ZSet>(args[0])? else {
                return Ok(Reply::Array(vec![]));
            };
            let inside =
                |(member, _): &(&Bytes, f64)| min.is_at_or_below(member) && max.is_at_or_above(member);
            Ok(match options.reversed {
                false => options.show(zset.iter().filter(inside)),
                true => options.show(zset.iter().rev().filter(inside)),
            })
        }
    }
}

fn scores_between(zset: &ZSet, min: ScoreBorder, max: ScoreBorder) -> impl Iterator<Item = (&Bytes, f64)> {
    zset.at_least(min.score)
        .skip_while(move |(_, score)| !min.is_at_or_below(*score))
        .take_while(move |(_, score)| max.is_at_or_above(*score))
}

/// `1`, `(1`, `-inf`.
#[derive(Clone, Copy)]
struct ScoreBorder {
    score: f64,
    excluded: bool,
}

impl ScoreBorder {
    fn parse(text: &[u8]) -> Result<Self, CommandError> {
        let (text, excluded) = text.strip_prefix(b"(").map_or((text, false), |text| (text, true));
        let score = float(text).map_err(|_| CommandError::RangeNotAFloat)?;
        Ok(Self { score, excluded })
    }

    fn is_at_or_below(self, score: f64) -> bool {
        self.score < score || (!self.excluded && self.score == score)
    }

    fn is_at_or_above(self, score: f64) -> bool {
        self.score > score || (!self.excluded && self.score == score)
    }
}

/// `[a`, `(a`, `-`, `+`.
enum BytesBorder<'a> {
    Lowest,
    Highest,
    At { bytes: &'a [u8], excluded: bool },
}

impl<'a> BytesBorder<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, CommandError> {
        match text {
            b"-" => Ok(Self::Lowest),
            b"+" => Ok(Self::Highest),
            [b'[', bytes @ ..] => Ok(Self::At {
                bytes,
                excluded: false,
            }),
            [b'(', bytes @ ..] => Ok(Self::At {
                bytes,
                excluded: true,
            }),
            _ => Err(CommandError::RangeNotAString),
        }
    }

    fn is_at_or_below(&self, member: &[u8]) -> bool {
        match self {
            Self::Lowest => true,
            Self::Highest => false,
            Self::At { bytes, excluded } => *bytes < member || (!excluded && *bytes == member),
        }
    }

    fn is_at_or_above(&self, member: &[u8]) -> bool {
        match self {
            Self::Lowest => false,
            Self::Highest => true,
            Self::At { bytes, excluded } => *bytes > member || (!excluded && *bytes == member),
        }
    }
}
