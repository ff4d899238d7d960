//! How full the prefetch channel is, over the course of an epoch.

use std::fmt;

/// Parts of the course that are told apart.
const PARTS: usize = 32;

/// How many batches are ready whenever the consumer asks for the next one. The first batch of each epoch is left out,
/// because nothing can be ready before it.
///
/// An empty channel means that the consumer is waiting for the loader, a full one that the loader waits for the
/// consumer. It prints as a line with a bar for each part of the course:
///
/// ```
/// let occupancy = maskstream::Occupancy::default(); // as in `LoaderStats::occupancy`
/// assert_eq!(occupancy.to_string(), "no batches yet");
/// // Later: "1.6 of 2 batches ready on average, none 4 % of the time: ▃▇███▇█"
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Occupancy {
    /// Batches that the consumer has asked for.
    pub asked: u64,
    /// How often none was ready, so that the consumer had to wait.
    pub empty: u64,
    /// Sum of the numbers of batches that were ready.
    pub ready: u64,
    /// How many can be ready at most: `prefetch_batches`.
    pub capacity: usize,
    /// The sums of consecutive parts of the course.
    parts: [u64; PARTS],
    /// Two to the power of this is the number of batches in a part.
    doublings: u32,
}

impl Occupancy {
    /// Mean number of batches that were ready.
    pub fn mean(&self) -> f64 {
        self.ready as f64 / self.asked.max(1) as f64
    }

    /// Mean number of batches that were ready in each of up to 32 consecutive parts of the course. All parts but the
    /// last one have the same number of batches.
    pub fn over_time(&self) -> Vec<f64> {
        let length = 1_u64 << self.doublings;
        let parts = self.parts.iter().zip(0_u64..);
        let asked = parts.map(|(sum, part)| (*sum, self.asked.saturating_sub(part * length).min(length)));
        asked.take_while(|(_, asked)| *asked > 0).map(|(sum, asked)| sum as f64 / asked as f64).collect()
    }

    /// The same, where this many batches can be ready.
    pub(super) fn of(self, capacity: usize) -> Self {
        Self { capacity, ..self }
    }

    /// Counts that this many batches were ready.
    pub(super) fn add(&mut self, ready: u64) {
        if self.asked >> self.doublings == PARTS as u64 {
            self.halve();
        }
        let part = (self.asked >> self.doublings) as usize;
        self.parts[part] += ready;
        self.asked += 1;
        self.ready += ready;
        self.empty += u64::from(ready == 0);
    }

    /// Puts every two parts together.
    fn halve(&mut self) {
        for part in 0..PARTS {
            let pair = self.parts.get(2 * part..2 * part + 2).unwrap_or_default();
            self.parts[part] = pair.iter().sum();
        }
        self.doublings += 1;
    }
}

impl fmt::Display for Occupancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.asked == 0 {
            return f.write_str("no batches yet");
        }
        let empty = 100.0 * self.empty as f64 / self.asked as f64;
        write!(f, "{:.1} of {} batches ready on average, none {empty:.0} % of the time: ", self.mean(), self.capacity)?;
        let bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let top = self.capacity.max(1) as f64;
        for mean in self.over_time() {
            let height = (mean / top * (bars.len() - 1) as f64).round() as usize;
            write!(f, "{}", bars[height.min(bars.len() - 1)])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Occupancy;

    #[test]
    fn parts_are_means_of_consecutive_batches_for_any_number_of_them() {
        for batches in [1_u64, 5, 31, 32, 33, 64, 65, 1000, 4099] {
            let ready = |batch: u64| batch * 7 % 5;
            let mut occupancy = Occupancy { capacity: 4, ..Occupancy::default() };
            (0..batches).for_each(|batch| occupancy.add(ready(batch)));

            let all: Vec<u64> = (0..batches).map(ready).collect();
            assert_eq!((occupancy.asked, occupancy.ready), (batches, all.iter().sum()));
            assert_eq!(occupancy.empty, all.iter().filter(|ready| **ready == 0).count() as u64);
            let length = (batches as usize).div_ceil(32).next_power_of_two();
            let mean = |part: &[u64]| part.iter().sum::<u64>() as f64 / part.len() as f64;
            assert_eq!(occupancy.over_time(), all.chunks(length).map(mean).collect::<Vec<_>>(), "{batches}");
        }
    }

    #[test]
    fn it_prints_a_bar_for_each_part() {
        let mut occupancy = Occupancy { capacity: 2, ..Occupancy::default() };
        [0, 1, 2, 2].into_iter().for_each(|ready| occupancy.add(ready));
        let line = "1.2 of 2 batches ready on average, none 25 % of the time: ▁▅██";
        assert_eq!(occupancy.to_string(), line);
    }
}
