//! The worker threads: each inflates and decodes samples into their slots, the labels one by one and a few images at
//! once. The worker that finishes the last slot of a batch sends the batch to the consumer. A sample that fails, panics
//! or is abandoned is an error of its batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::activity::{ActivityBoard, ActivityGuard};
use super::shared::Shared;
use super::stats::Counters;
use super::trace::Span;
use crate::annotation::AnnotationSelector;
use crate::augment::{Augment, ColorStep, Draws};
use crate::batch::{BatchBuffers, SampleError, Slot};
use crate::image::{Canvas, Decoder, ImageSource, ImageTask, RowPoints, TOGETHER, View};
use crate::mask::Rle;
use crate::sample::{Clock, Geometry, LabelDecoder, LabelSource, Sample, StageTimes, Transform};
use crate::shard::{Entry, SampleId, Samples};
use crate::source::{Fetched, Inflated, Inflater};
use crate::{Error, Result};

/// A batch whose slots are all finished.
pub(super) struct CompletedBatch {
    pub(super) step: u64,
    pub(super) buffers: BatchBuffers,
    pub(super) samples: Vec<Option<SampleId>>,
    pub(super) errors: Vec<SampleError>,
}

impl std::fmt::Debug for CompletedBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompletedBatch").field("step", &self.step).finish_non_exhaustive()
    }
}

/// A message to the consumer.
pub(super) enum Message {
    /// A batch, which may be ahead of its turn.
    Batch(CompletedBatch),
    /// There is no batch at this step, and none after it.
    Failed { step: u64, error: Error },
    /// The number of steps, sent when the feed has reached the end of the plan.
    End { steps: u64 },
}

/// What the jobs of one batch share.
pub(super) struct PendingBatch {
    pub(super) step: u64,
    pub(super) samples: Vec<Option<SampleId>>,
    pub(super) errors: Mutex<Vec<SampleError>>,
    pub(super) messages: Sender<Message>,
}

/// One sample to decode. Dropping a job finishes its slot, and the last job of a batch sends the batch to the consumer.
/// A job that was dropped before it was done is an error of the batch.
pub(super) struct Job {
    slot: Option<Slot>,
    sample: Option<SampleId>,
    pending: Arc<PendingBatch>,
    done: bool,
    pub(super) bytes: Option<SampleBytes>,
}

/// A sample's index entry, and its bytes as they were fetched.
pub(super) struct SampleBytes {
    pub(super) entry: Entry,
    pub(super) selector: Arc<AnnotationSelector>,
    pub(super) image: Fetched,
    pub(super) labels: LabelBytes,
}

impl SampleBytes {
    /// Bytes that were read from the device.
    pub(super) fn fetched_bytes(&self) -> u64 {
        let labels = match &self.labels {
            LabelBytes::Json(json) => json.fetched_bytes(),
            LabelBytes::Saved(_) => 0,
        };
        self.image.fetched_bytes() + labels
    }
}

/// The labels of a sample: annotations to decode, or a row from the mask cache.
pub(super) enum LabelBytes {
    Json(Fetched),
    Saved(Arc<[u8]>),
}

impl Job {
    pub(super) fn new(slot: Slot, pending: &Arc<PendingBatch>) -> Self {
        let sample = pending.samples.get(slot.row()).copied().flatten();
        Self { slot: Some(slot), sample, pending: Arc::clone(pending), done: false, bytes: None }
    }

    pub(super) fn sample(&self) -> Option<SampleId> {
        self.sample
    }

    /// Zeroes the row: it is padding.
    pub(super) fn pad(mut self) {
        self.zero();
    }

    /// Zeroes the row, and adds the error to the batch.
    pub(super) fn fail(&mut self, error: Error) {
        self.zero();
        if let (Some(slot), Some(sample)) = (&self.slot, self.sample) {
            let failed = SampleError { row: slot.row(), sample, error };
            self.pending.errors.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
        }
    }

    fn zero(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.zero();
        }
        self.done = true;
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.done {
            self.fail(Error::panic(&"the sample was abandoned"));
        }
        let Some(buffers) = self.slot.take().and_then(Slot::finish) else { return };
        let PendingBatch { step, samples, errors, messages } = &*self.pending;
        let errors = std::mem::take(&mut *errors.lock().unwrap_or_else(PoisonError::into_inner));
        let finished = CompletedBatch { step: *step, buffers, samples: samples.clone(), errors };
        // Sending fails only if the epoch was dropped.
        let _ = messages.send(Message::Batch(finished));
    }
}

/// What a worker thread is given.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) samples: Arc<dyn Samples>,
    pub(super) counters: Arc<Counters>,
    pub(super) board: Arc<ActivityBoard>,
    /// The first of this worker's `TOGETHER` places on the board.
    pub(super) place: usize,
    pub(super) epoch: u64,
    /// The first step of the epoch.
    pub(super) first: u64,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) jobs: Receiver<Job>,
}

/// The body of a worker thread: decodes until the work channel closes. Once `stop` is set, jobs are dropped, not
/// decoded.
pub(super) fn run(worker: &Worker) {
    let options = &worker.shared.sample;
    let mut decoder = Decoder::new(options.scaled, options.max_pixels);
    loop {
        let mut queue = Queue::new(worker);
        // A panic outside of the decoding of one sample fails those that are under way. The buffers are replaced,
        // because their state may be inconsistent.
        match catch_unwind(AssertUnwindSafe(|| decoder.run(&mut queue))) {
            Ok(()) => return,
            Err(_) => decoder = Decoder::new(options.scaled, options.max_pixels),
        }
    }
}

/// The jobs of a worker: a few at a time, with the labels decoded and the image still to be decoded.
struct Queue<'a> {
    worker: &'a Worker,
    labels: LabelDecoder,
    json: Inflater,
    /// Inflaters of images that are done.
    inflaters: Vec<Inflater>,
    /// Which places on the board are in use.
    places: [bool; TOGETHER],
    /// The latest step of which a job was taken.
    step: u64,
    clock: Clock,
    /// CPU time of images that no sample accounts for yet.
    image: Duration,
    /// When the samples under way began to be decoded, or were last counted as work. `None` while it waits.
    busy_since: Option<Instant>,
}

/// A sample whose image is being decoded.
struct Task<'a> {
    job: Job,
    entry: Entry,
    jpeg: Inflated,
    geometry: Geometry,
    /// Where the rows of the JPEG begin, if that spares something.
    row_points: Option<RowPoints>,
    /// The masks of the row, if the user's own step needs them.
    masks: Vec<Rle>,
    worker: &'a Worker,
    place: usize,
    _guard: Option<ActivityGuard<'a>>,
    _span: Option<Span>,
    times: StageTimes,
}

impl ImageTask for Task<'_> {
    fn jpeg(&self) -> &[u8] {
        self.jpeg.bytes()
    }

    fn size(&self) -> (u32, u32) {
        (self.entry.width, self.entry.height)
    }

    fn view(&self) -> View {
        self.geometry.view()
    }

    fn row_points(&self) -> Option<&RowPoints> {
        self.row_points.as_ref()
    }

    fn color_steps(&self) -> Vec<ColorStep> {
        let Worker { shared, epoch, .. } = self.worker;
        let steps = |augment: Augment| augment.color_steps(*epoch, self.entry.image_id);
        shared.sample.augment.map(steps).unwrap_or_default()
    }

    fn is_transformed(&self) -> bool {
        self.worker.shared.sample.transform.is_some()
    }

    fn transform(&mut self, pixels: &mut [u8]) -> Result<()> {
        let Worker { shared, epoch, .. } = self.worker;
        let (Some(Transform(step)), Some(slot)) = (&shared.sample.transform, &mut self.job.slot) else { return Ok(()) };
        let seed = shared.sample.augment.map_or(0, |augment| augment.seed);
        step(&mut Sample {
            pixels,
            geometry: self.geometry,
            masks: &self.masks,
            draws: Draws::new(seed, *epoch, self.entry.image_id),
            epoch: *epoch,
            row: slot.row_mut(),
        })
    }

    fn canvas(&mut self) -> Canvas<'_> {
        let images = self.job.slot.as_mut().map_or(&mut [][..], Slot::image_mut);
        let size = (self.geometry.content_width(), self.geometry.content_height());
        Canvas::new(&self.worker.shared.planes, size, self.worker.shared.sample.side, images)
    }
}

impl<'a> ImageSource for Queue<'a> {
    type Task = Task<'a>;

    fn next(&mut self, under_way: usize) -> Option<Task<'a>> {
        self.image += self.clock.lap();
        let task = loop {
            let job = self.receive(under_way)?;
            self.step = job.pending.step;
            if let Some(task) = self.begin(job) {
                break task;
            }
        };
        self.clock.lap();
        Some(task)
    }

    fn done(&mut self, task: Task<'a>, result: Result<()>) {
        let Task { mut job, entry, jpeg, place, mut times, .. } = task;
        self.image += self.clock.lap();
        // Not only when the worker waits again: one that always has an image under way never does.
        self.count_work();
        // The bytes may be a source's own, whose release is foreign code.
        let released = catch_unwind(AssertUnwindSafe(|| jpeg.into_inflater()));
        let result = match released {
            Ok(inflater) => {
                self.inflaters.push(inflater);
                result
            }
            Err(payload) => Err(Error::panic(&*payload)),
        };
        self.places[place] = false;
        match result {
            Ok(()) => {
                job.done = true;
                times.image = std::mem::take(&mut self.image);
                self.worker.counters.add_sample(&times);
            }
            Err(error) => {
                self.fail(&mut job, error.in_member(&entry.image_name()).at_offset(entry.image.offset));
            }
        }
    }
}

impl<'a> Queue<'a> {
    fn new(worker: &'a Worker) -> Self {
        let labels = LabelDecoder::new(Arc::clone(&worker.shared.sample));
        let (json, inflaters, places, image) = Default::default();
        let (step, clock, busy_since) = (worker.first, Clock::start(), None);
        Self { worker, labels, json, inflaters, places, step, clock, image, busy_since }
    }

    /// The next job: waits for one if no image is under way. Further images are begun only where nobody waits for them:
    /// not beside those of an epoch's first batch, which is to be ready as early as possible, and not as long as
    /// another worker could have the job.
    fn receive(&mut self, under_way: usize) -> Option<Job> {
        let Worker { jobs, stop, first, .. } = self.worker;
        if under_way > 0 {
            let is_welcome = self.step > *first && jobs.is_full() && !stop.load(Relaxed);
            return if is_welcome { jobs.try_recv().ok() } else { None };
        }
        self.count_work();
        let job = jobs.iter().find(|_| !stop.load(Relaxed));
        self.busy_since = job.is_some().then(Instant::now);
        job
    }

    /// Counts the time since the samples under way began to be decoded, or since it was last counted.
    fn count_work(&mut self) {
        let now = Instant::now();
        if let Some(since) = self.busy_since.replace(now) {
            self.worker.counters.add_work(now - since);
        }
    }

    /// Decodes the labels of a sample and inflates its image; `None` if the sample fails. A panic is its error.
    fn begin(&mut self, mut job: Job) -> Option<Task<'a>> {
        let worker = self.worker;
        let Some(place) = self.places.iter().position(|is_used| !is_used) else {
            self.fail(&mut job, Error::panic(&"a worker has more samples than places"));
            return None;
        };
        let guard = job.sample.map(|sample| worker.board.begin(worker.place + place, sample));
        let step = job.pending.step;
        let span = job.sample.map(|sample| Span::labels(step, sample));
        let decode = || match span {
            Some(span) => span.run(|| self.decode_labels(&mut job)),
            None => self.decode_labels(&mut job),
        };
        let decoded = catch_unwind(AssertUnwindSafe(decode));
        let decoded = decoded.unwrap_or_else(|payload| {
            self.labels = LabelDecoder::new(Arc::clone(&worker.shared.sample));
            self.json = Inflater::default();
            Err(Error::panic(&*payload))
        });
        match decoded {
            Ok((entry, jpeg, geometry, times)) => {
                self.places[place] = true;
                let masks =
                    if worker.shared.sample.transform.is_some() { self.labels.take_masks() } else { Vec::new() };
                let row_points = job.sample.filter(|_| geometry.is_cropped());
                let row_points = row_points.and_then(|sample| worker.samples.row_points(sample.shard, entry.image));
                let span = job.sample.map(|sample| Span::image(step, sample));
                Some(Task {
                    job,
                    entry,
                    jpeg,
                    geometry,
                    row_points,
                    masks,
                    worker,
                    place,
                    _guard: guard,
                    _span: span,
                    times,
                })
            }
            Err(error) => {
                self.fail(&mut job, error);
                None
            }
        }
    }

    /// Returns the entry of a sample, its JPEG, where its image goes, and the times so far.
    fn decode_labels(&mut self, job: &mut Job) -> Result<(Entry, Inflated, Geometry, StageTimes)> {
        let Worker { shared, epoch, .. } = self.worker;
        let mut times = StageTimes::default();
        let (Some(SampleBytes { entry, selector, image, labels }), Some(slot), Some(sample)) =
            (job.bytes.take(), &mut job.slot, job.sample)
        else {
            return Err(Error::panic(&"a worker received a sample without bytes or slot"));
        };
        let mut clock = Clock::start();
        let in_image = |e: Error| e.in_member(&entry.image_name()).at_offset(entry.image.offset);
        let inflater = self.inflaters.pop().unwrap_or_default();
        times.inflated_bytes = image.inflated_bytes();
        let image = image.into_inflated(inflater).map_err(|e| e.in_member(&entry.image_name()))?;
        let source = match &labels {
            LabelBytes::Json(json) => {
                times.inflated_bytes += json.inflated_bytes();
                let json = json.inflate(&mut self.json).map_err(|e| e.in_member(&entry.annotations_name()))?;
                LabelSource::Json { json, selector: &selector, epoch: *epoch }
            }
            LabelBytes::Saved(row) => LabelSource::Saved(row),
        };
        times.inflate += clock.lap();
        if let LabelSource::Json { json, .. } = source {
            times.json_bytes = json.len() as u64;
        }
        times.image_bytes = image.bytes().len() as u64;
        let is_new = matches!(source, LabelSource::Json { .. });
        let geometry = self.labels.decode(&entry, source, slot.row_mut(), &mut times)?;
        if let (Some(cache), true) = (&shared.cache, is_new) {
            cache.put(sample, entry.annotations, slot.row_mut().save_labels());
        }
        clock.lap();
        entry.image.verify(image.bytes()).map_err(in_image)?;
        times.verify += clock.lap();
        Ok((entry, image, geometry, times))
    }

    fn fail(&self, job: &mut Job, error: Error) {
        if let Some(sample) = job.sample {
            job.fail(locate(&*self.worker.samples, sample, error));
        }
    }
}

/// Adds the location of the sample to an error that has none.
pub(super) fn locate(samples: &dyn Samples, sample: SampleId, error: Error) -> Error {
    let error = match samples.path(sample.shard) {
        Some(path) => error.in_shard(&path),
        None => error,
    };
    match samples.entry(sample) {
        Some(entry) => error.in_member(&entry.image_name()).at_offset(entry.image.offset),
        None => error,
    }
}
