//! The manager's status in the text format.

use outlive_proto::v1::{Level, Role, ScrubState, StatusResponse, UnitStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

pub(super) fn encode(status: StatusResponse) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("outlive");
    registry.register_collector(Box::new(Snapshot(status)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// The status at one moment, as metrics.
#[derive(Debug)]
struct Snapshot(StatusResponse);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnitLabels {
    unit: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RegionLabels {
    region: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MemberLabels {
    pair: String,
    member: String,
    role: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PairLabels {
    pair: String,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = &self.0;
        let mut all = Encoder {
            encoder: &mut encoder,
        };
        all.plain(
            "manager_generation",
            "How often a manager attached",
            status.manager_generation,
        )?;
        all.units(status)?;
        all.regions(status)?;
        all.pairs(status)
    }
}

struct Encoder<'a, 'b> {
    encoder: &'a mut DescriptorEncoder<'b>,
}

impl Encoder<'_, '_> {
    fn units(&mut self, status: &StatusResponse) -> Result<(), std::fmt::Error> {
        let units = &status.units;
        let of = |value: fn(&outlive_proto::v1::UnitStatus) -> u64| {
            units.iter().map(move |unit| {
                (
                    UnitLabels {
                        unit: crate::output::hex(&unit.id),
                    },
                    value(unit),
                )
            })
        };
        self.gauge(
            "unit_incarnation",
            "The unit's incarnation",
            of(|unit| unit.incarnation),
        )?;
        self.gauge(
            "unit_media_bytes",
            "Size of the medium",
            of(|unit| unit.media_bytes),
        )?;
        self.gauge(
            "unit_free_bytes",
            "Bytes that no region holds",
            of(|unit| unit.free_bytes),
        )?;
        self.gauge(
            "unit_connections",
            "Data connections",
            of(|unit| u64::from(unit.connections)),
        )?;
        self.gauge(
            "unit_healthy",
            "0 once the medium failed",
            of(|unit| u64::from(unit.poisoned.is_empty())),
        )?;
        self.gauge(
            "unit_persistent",
            "1 where commits survive loss of power",
            of(|unit| u64::from(unit.strongest() == Level::Persistent)),
        )?;
        self.counter(
            "unit_written_bytes",
            "Bytes that clients wrote",
            of(|unit| unit.bytes_written),
        )?;
        self.counter(
            "unit_read_bytes",
            "Bytes that clients read",
            of(|unit| unit.bytes_read),
        )?;
        self.counter("unit_writes", "Writes", of(|unit| unit.writes))?;
        self.counter("unit_reads", "Reads", of(|unit| unit.reads))?;
        self.counter("unit_persists", "Persist requests", of(|unit| unit.persists))?;
        self.counter(
            "unit_flushes",
            "Flushes of the medium, each for all that waited",
            of(|unit| unit.flushes),
        )?;
        self.counter("unit_refusals", "Operations refused", of(|unit| unit.refusals))?;
        self.gauge(
            "unit_superblock_damaged",
            "Copies of the superblock that are not what they should be",
            of(|unit| unit.superblock.len() as u64),
        )?;
        self.scrubs(units)
    }

    /// Of the units whose process scrubs.
    fn scrubs(&mut self, units: &[UnitStatus]) -> Result<(), std::fmt::Error> {
        let of = |value: fn(&ScrubState) -> u64| {
            units.iter().filter_map(move |unit| {
                let labels = UnitLabels {
                    unit: crate::output::hex(&unit.id),
                };
                Some((labels, value(unit.scrub.as_ref()?)))
            })
        };
        self.counter(
            "scrub_rounds",
            "How often everything was verified",
            of(|scrub| scrub.rounds),
        )?;
        self.counter(
            "scrub_read_bytes",
            "Bytes read to be verified",
            of(|scrub| scrub.bytes),
        )?;
        self.gauge(
            "scrub_ended_milliseconds",
            "When the last round ended, since 1970; 0: none has",
            of(|scrub| scrub.ended_unix_ms),
        )?;
        self.gauge(
            "scrub_sets",
            "Sets that verified in the last round",
            of(|scrub| scrub.sets),
        )?;
        self.gauge(
            "scrub_problems",
            "Damage found in the last round",
            of(|scrub| scrub.found),
        )?;
        self.counter(
            "scrub_incomplete_rounds",
            "Rounds that did not read everything",
            of(|scrub| scrub.incomplete_rounds),
        )?;
        self.gauge(
            "scrub_incomplete",
            "Whether the last round did not read everything, or scrubbing has ended",
            of(|scrub| u64::from(!scrub.incomplete.is_empty())),
        )?;
        self.gauge(
            "scrub_outrun_regions",
            "Regions of which parts were overwritten in the last round before they could be verified",
            of(|scrub| scrub.outrun),
        )
    }

    fn regions(&mut self, status: &StatusResponse) -> Result<(), std::fmt::Error> {
        let regions = &status.regions;
        let of = |value: fn(&outlive_proto::v1::Region) -> u64| {
            regions.iter().map(move |region| {
                (
                    RegionLabels {
                        region: region.name.clone(),
                    },
                    value(region),
                )
            })
        };
        self.gauge("region_bytes", "Size of the region", of(|region| region.size))?;
        self.gauge(
            "region_generation",
            "Generation of ownership",
            of(|region| region.generation),
        )?;
        self.gauge(
            "region_owned",
            "1 while a primary's write connection is alive",
            of(|region| u64::from(region.owner_alive)),
        )?;
        self.gauge(
            "region_readers",
            "Read connections",
            of(|region| u64::from(region.readers)),
        )
    }

    fn pairs(&mut self, status: &StatusResponse) -> Result<(), std::fmt::Error> {
        let members = || {
            status.pairs.iter().flat_map(|pair| {
                pair.members.iter().map(|member| {
                    let role = if member.role() == Role::Primary {
                        "primary"
                    } else {
                        "backup"
                    };
                    (
                        MemberLabels {
                            pair: pair.name.clone(),
                            member: member.address.clone(),
                            role,
                        },
                        member,
                    )
                })
            })
        };
        self.gauge(
            "member_sequence",
            "Last sequence that the member committed or applied",
            members().map(|(labels, member)| (labels, member.sequence)),
        )?;
        self.gauge(
            "member_silent_milliseconds",
            "Since the manager last heard of the member",
            members().map(|(labels, member)| (labels, member.silent_ms)),
        )?;
        let last = status.pairs.iter().filter_map(|pair| {
            let takeover = pair.last_takeover.as_ref()?;
            Some((
                PairLabels {
                    pair: pair.name.clone(),
                },
                takeover.total_us,
            ))
        });
        self.gauge(
            "pair_last_takeover_microseconds",
            "How long the last takeover took",
            last,
        )
    }

    fn plain(&mut self, name: &str, help: &str, value: u64) -> Result<(), std::fmt::Error> {
        let metric = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)
    }

    fn gauge<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), std::fmt::Error> {
        let mut metric = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            // Beyond i64 a figure is nonsense anyway; the format's integers are signed.
            let value = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            value.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counter<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), std::fmt::Error> {
        let mut metric = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use outlive_proto::v1::{MemberStatus, PairStatus, Region, Takeover};

    use super::*;

    #[test]
    fn the_status_becomes_openmetrics_text() {
        let status = StatusResponse {
            manager_generation: 3,
            units: vec![UnitStatus {
                id: vec![0xab; 2],
                flushes: 7,
                scrub: Some(ScrubState {
                    found: 5,
                    incomplete: "why".to_owned(),
                    outrun: 4,
                    ..ScrubState::default()
                }),
                ..UnitStatus::default()
            }],
            regions: vec![Region {
                name: "a\"b".to_owned(),
                size: 4096,
                owner_alive: true,
                ..Region::default()
            }],
            pairs: vec![PairStatus {
                name: "kv".to_owned(),
                members: vec![MemberStatus {
                    address: "h:1".to_owned(),
                    sequence: 9,
                    ..MemberStatus::default()
                }],
                last_takeover: Some(Takeover {
                    total_us: 42,
                    ..Takeover::default()
                }),
            }],
            ..StatusResponse::default()
        };
        let text = encode(status).unwrap();
        for line in [
            "outlive_manager_generation 3",
            "outlive_unit_flushes_total{unit=\"abab\"} 7",
            "outlive_scrub_problems{unit=\"abab\"} 5",
            "outlive_scrub_incomplete{unit=\"abab\"} 1",
            "outlive_scrub_outrun_regions{unit=\"abab\"} 4",
            "outlive_unit_healthy{unit=\"abab\"} 1",
            "outlive_region_bytes{region=\"a\\\"b\"} 4096",
            "outlive_region_owned{region=\"a\\\"b\"} 1",
            "outlive_member_sequence{pair=\"kv\",member=\"h:1\",role=\"backup\"} 9",
            "outlive_pair_last_takeover_microseconds{pair=\"kv\"} 42",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in:\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
