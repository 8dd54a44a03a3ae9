//! The way to the manager.

use std::sync::Arc;
use std::time::Duration;

use outlive_proto::v1;

use crate::control::{Answer, Control};
use crate::link::{self, Granted};
use crate::raw;
use crate::status::{AddressContext, MemberReport, RegionView, StatusView, SwitchoverView};
use crate::transport::{Sockets, Transport};
use crate::{
    Backup, BackupOptions, CatalogView, Context, Error, OpenOptions, Primary, RawOptions, RawRegion,
    RegionSpec, Result,
};

/// What a planned hand-over may take beyond its own timeout before the call is given up.
const SWITCHOVER_MARGIN: Duration = Duration::from_secs(5);

/// How a session behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// For how long calls are tried again while the manager or the unit cannot be reached.
    pub retry_for: Duration,
}

impl Default for SessionOptions {
    /// Ten seconds: a restarting unit is back by then, and a person still waits.
    fn default() -> Self {
        Self {
            retry_for: Duration::from_secs(10),
        }
    }
}

/// A connection to a manager. Cheap to clone; used from any thread, also from inside async code
/// (calls block the thread for one answer of the manager).
#[derive(Clone)]
pub struct Session {
    control: Arc<Control>,
    options: SessionOptions,
}

impl Session {
    /// Connects with default options.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::NoAccess`].
    pub fn connect(context: &Context) -> Result<Self> {
        Self::connect_with(context, SessionOptions::default())
    }

    /// Connects.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub fn connect_with(context: &Context, options: SessionOptions) -> Result<Self> {
        let sockets = Sockets::new(context.client_tls(), context.control());
        Self::connect_over(Arc::new(sockets), context.control(), options)
    }

    /// Connects over a transport of the caller's. `control` (`host:port`) names the manager in requests and errors; where
    /// the connection leads is the transport's matter.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub fn connect_over(
        transport: Arc<dyn Transport>,
        control: &str,
        options: SessionOptions,
    ) -> Result<Self> {
        let session = Self {
            control: Arc::new(Control::new(transport, control)?),
            options,
        };
        // Shows that the manager is there and lets us in.
        session.who_am_i()?;
        Ok(session)
    }

    /// Creates a region.
    ///
    /// # Errors
    /// [`Error::RegionExists`], [`Error::NoSpace`], [`Error::Invalid`].
    pub fn create(&self, name: &str, spec: &RegionSpec) -> Result<RegionView> {
        let request = v1::CreateRegionRequest {
            name: name.to_owned(),
            kind: spec.kind.to_proto().into(),
            size: spec.size,
            slots: spec.slots,
            max_snapshot: spec.max_snapshot,
            owners: spec.owners.clone(),
            readers: spec.readers.clone(),
        };
        let answer = self.call(name, move |mut client| {
            let request = request.clone();
            async move { client.create_region(request).await }
        });
        match answer {
            // An attempt that broke off may have created it: then it is new, empty, and as it was asked for.
            Answer {
                result: Err(Error::RegionExists { region }),
                ambiguous: true,
            } => {
                let found = self.describe(name)?;
                let ours = found.generation == 0 && found.kind == spec.kind && found.size >= spec.size;
                if ours {
                    Ok(found)
                } else {
                    Err(Error::RegionExists { region })
                }
            }
            answer => answer.result.map(RegionView::from),
        }
    }

    /// All regions, by name.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn regions(&self) -> Result<Vec<RegionView>> {
        let answer = self.call("", |mut client| async move {
            client.list_regions(v1::ListRegionsRequest::default()).await
        });
        let mut regions: Vec<_> = answer.result?.regions.into_iter().map(RegionView::from).collect();
        regions.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(regions)
    }

    /// One region.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`].
    pub fn describe(&self, name: &str) -> Result<RegionView> {
        let request = v1::DescribeRegionRequest {
            name: name.to_owned(),
        };
        let answer = self.call(name, move |mut client| {
            let request = request.clone();
            async move { client.describe_region(request).await }
        });
        answer.result.map(RegionView::from)
    }

    /// Deletes a region and all that it holds. The one way in which the last verified checkpoint ends.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`], [`Error::Owned`] while its primary is alive.
    pub fn delete(&self, name: &str) -> Result<()> {
        let request = v1::DeleteRegionRequest {
            name: name.to_owned(),
        };
        let answer = self.call(name, move |mut client| {
            let request = request.clone();
            async move { client.delete_region(request).await }
        });
        match answer {
            // The attempt that broke off has deleted it.
            Answer {
                result: Err(Error::NoSuchRegion { .. }),
                ambiguous: true,
            } => Ok(()),
            answer => answer.result.map(|_| ()),
        }
    }

    /// What is mapped where, by whom, with which rights.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`].
    pub fn address_context(&self, name: &str) -> Result<AddressContext> {
        let request = v1::AddressContextRequest {
            name: name.to_owned(),
        };
        let answer = self.call(name, move |mut client| {
            let request = request.clone();
            async move { client.address_context(request).await }
        });
        answer.result.map(AddressContext::from)
    }

    /// Units, regions and pairs.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn status(&self) -> Result<StatusView> {
        let answer = self.call("", |mut client| async move {
            client.status(v1::StatusRequest {}).await
        });
        answer.result.map(StatusView::from)
    }

    /// Asks a pair's primary to hand over to its backup, and waits until it has.
    ///
    /// # Errors
    /// [`Error::NoSuchPair`]; what the manager says when it is not done within `timeout`.
    pub fn switchover(&self, pair: &str, timeout: Duration) -> Result<SwitchoverView> {
        let request = v1::SwitchoverRequest {
            pair: pair.to_owned(),
            timeout_ms: millis(timeout),
        };
        // Once, not again: a repeated request could hand over twice.
        let answer = self.control.call_within(
            pair,
            Duration::ZERO,
            timeout.saturating_add(SWITCHOVER_MARGIN),
            move |mut client| {
                let request = request.clone();
                async move { client.switchover(request).await }
            },
        );
        answer.result.map(|done| SwitchoverView {
            old_primary: done.old_primary,
            new_primary: done.new_primary,
            took: Duration::from_micros(done.took_us),
        })
    }

    /// Tells the manager how a pair's member is. True asks it to hand over.
    ///
    /// # Errors
    /// [`Error::Unreachable`]. Tried once, not again: the next report follows soon.
    pub fn report_member(&self, report: &MemberReport) -> Result<bool> {
        self.report_member_and_wait(report, Duration::ZERO)
    }

    /// As [`report_member`](Self::report_member), but the manager answers only when it has something to ask of the
    /// member, or after `wait` (at most ten seconds). The report itself counts at once.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn report_member_and_wait(&self, report: &MemberReport, wait: Duration) -> Result<bool> {
        let mut request = v1::ReportMemberRequest::from(report);
        request.wait_ms = millis(wait);
        let answer = self
            .control
            .call(&report.pair, Duration::ZERO, move |mut client| {
                let request = request.clone();
                async move { client.report_member(request).await }
            });
        answer.result.map(|answer| answer.switchover)
    }

    /// Opens a checkpoint region for writing.
    ///
    /// # Errors
    /// [`Error::Owned`] while another primary is alive and `take_over` is not set;
    /// [`Error::NoSuchRegion`]; [`Error::NotCheckpoint`]; [`Error::Corrupt`]; [`Error::Level`] where the
    /// medium cannot promise the level.
    pub fn primary(&self, name: &str, options: &OpenOptions) -> Result<Primary> {
        Primary::open(self, name, options)
    }

    /// Opens a checkpoint region for reading, with default options.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`]; [`Error::NotCheckpoint`].
    pub fn backup(&self, name: &str) -> Result<Backup> {
        self.backup_with(name, &BackupOptions::default())
    }

    /// Opens a checkpoint region for reading.
    ///
    /// # Errors
    /// As for [`backup`](Self::backup).
    pub fn backup_with(&self, name: &str, options: &BackupOptions) -> Result<Backup> {
        Backup::open(self, name, options)
    }

    /// Opens a raw region for writing and reading.
    ///
    /// # Errors
    /// As for [`primary`](Self::primary); [`Error::Range`] where it is a checkpoint region.
    pub fn raw(&self, name: &str, options: &RawOptions) -> Result<RawRegion> {
        raw::open(self, name, options)
    }

    /// Opens a region of any kind for raw reads only.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`].
    pub fn raw_reader(&self, name: &str) -> Result<RawRegion> {
        raw::open_reader(self, name)
    }

    /// Opens the unit's catalog for one-sided reading.
    ///
    /// # Errors
    /// [`Error::NoAccess`].
    pub fn catalog(&self) -> Result<CatalogView> {
        CatalogView::open(self)
    }
}

/// What the rest of the crate asks of the manager.
impl Session {
    pub(crate) fn options(&self) -> &SessionOptions {
        &self.options
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Connects as primary of a new generation.
    pub(crate) fn open_primary(
        &self,
        name: &str,
        take_over: bool,
        owner: &str,
        retry_for: Duration,
    ) -> Result<Granted> {
        let request = v1::OpenRegionRequest {
            name: name.to_owned(),
            role: v1::Role::Primary.into(),
            take_over,
            owner: label(owner),
        };
        let mut granted_generation = None;
        link::connect(self.control.transport(), name, retry_for, |left| {
            // It is ours once it was granted, whether or not the unit then lets us in: asking anew would be refused, because we
            // own it ourselves.
            if let Some(generation) = granted_generation {
                return self.reconnect_grant(name, generation, left);
            }
            let opened = self.open(name, left, request.clone())?;
            granted_generation = opened.region.as_ref().map(|region| region.generation);
            Ok(opened)
        })
    }

    /// Connects as a reader.
    pub(crate) fn open_reader(&self, name: &str, retry_for: Duration) -> Result<Granted> {
        let request = v1::OpenRegionRequest {
            name: name.to_owned(),
            role: v1::Role::Backup.into(),
            take_over: false,
            owner: String::new(),
        };
        link::connect(self.control.transport(), name, retry_for, |left| {
            self.open(name, left, request.clone())
        })
    }

    /// Connects again as primary of `generation`.
    pub(crate) fn reconnect_primary(
        &self,
        name: &str,
        generation: u64,
        retry_for: Duration,
    ) -> Result<Granted> {
        link::connect(self.control.transport(), name, retry_for, |left| {
            self.reconnect_grant(name, generation, left)
        })
    }

    /// Takes the region over if its generation still is `expected`; the connection is made once the fence is
    /// confirmed.
    pub(crate) fn take_over(
        &self,
        name: &str,
        expected: u64,
        owner: &str,
        retry_for: Duration,
    ) -> Result<Granted> {
        let request = v1::TakeoverRegionRequest {
            name: name.to_owned(),
            expected_generation: expected,
            owner: label(owner),
        };
        let mut granted_generation = None;
        link::connect(self.control.transport(), name, retry_for, |left| {
            // The takeover itself is done once; what may be repeated is the connection.
            if let Some(generation) = granted_generation {
                return self.reconnect_grant(name, generation, left);
            }
            let request = request.clone();
            let answer = self.control.call(name, left, move |mut client| {
                let request = request.clone();
                async move { client.takeover_region(request).await }
            });
            let opened = answer.result?;
            granted_generation = opened.region.as_ref().map(|region| region.generation);
            Ok(opened)
        })
    }

    /// Gives up ownership; tried for `retry_for`.
    pub(crate) fn close_region(&self, name: &str, generation: u64, retry_for: Duration) -> Result<()> {
        let request = v1::CloseRegionRequest {
            name: name.to_owned(),
            generation,
        };
        let answer = self.control.call(name, retry_for, move |mut client| {
            let request = request.clone();
            async move { client.close_region(request).await }
        });
        answer.result.map(|_| ())
    }

    pub(crate) fn resize_region(
        &self,
        name: &str,
        size: u64,
        generation: u64,
        retry_for: Duration,
    ) -> Result<RegionView> {
        let request = v1::ResizeRegionRequest {
            name: name.to_owned(),
            size,
            generation,
        };
        let answer = self.control.call(name, retry_for, move |mut client| {
            let request = request.clone();
            async move { client.resize_region(request).await }
        });
        answer.result.map(RegionView::from)
    }

    /// Connects to the catalog, read-only.
    pub(crate) fn open_catalog(&self) -> Result<Granted> {
        link::connect(
            self.control.transport(),
            "the catalog",
            self.options.retry_for,
            |left| {
                let answer = self.control.call("the catalog", left, |mut client| async move {
                    client.open_catalog(v1::OpenCatalogRequest {}).await
                });
                answer.result
            },
        )
    }

    fn reconnect_grant(&self, name: &str, generation: u64, retry_for: Duration) -> Result<v1::Opened> {
        let request = v1::ReconnectRegionRequest {
            name: name.to_owned(),
            role: v1::Role::Primary.into(),
            generation,
        };
        let answer = self.control.call(name, retry_for, move |mut client| {
            let request = request.clone();
            async move { client.reconnect_region(request).await }
        });
        answer.result
    }

    fn open(&self, name: &str, retry_for: Duration, request: v1::OpenRegionRequest) -> Result<v1::Opened> {
        let answer = self.control.call(name, retry_for, move |mut client| {
            let request = request.clone();
            async move { client.open_region(request).await }
        });
        answer.result
    }

    pub(crate) fn call<T, F, Fut>(&self, region: &str, call: F) -> Answer<T>
    where
        T: Send + 'static,
        F: Fn(crate::control::Client) -> Fut + Send + 'static,
        Fut: Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>> + Send,
    {
        self.control.call(region, self.options.retry_for, call)
    }
}

/// An empty label would read as "closed".
fn label(owner: &str) -> String {
    if owner.is_empty() {
        format!("process {}", std::process::id())
    } else {
        owner.to_owned()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
