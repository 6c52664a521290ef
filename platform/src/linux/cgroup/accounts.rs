//! Reading the accounts of a cgroup that aren't one number: devices and pressure. Pure, and without allocating.

use crate::linux::text::{digits, lines, words};
use crate::{Bytes, DeviceNumber, DeviceUsage, Pressure};
use std::time::Duration;

/// The devices of `io.stat` (cgroup-v2.rst): lines such as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
/// A line that is cut, or of a device that was only configured, is passed over.
pub(super) fn devices(text: &[u8]) -> impl Iterator<Item = DeviceUsage> {
    lines(text).filter_map(device)
}

fn device(line: &[u8]) -> Option<DeviceUsage> {
    let mut fields = words(line);
    let mut usage =
        DeviceUsage { number: device_number(fields.next()?)?, ..DeviceUsage::default() };
    let mut known = 0;
    for field in fields {
        let at = field.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (field.get(..at)?, digits(field.get(at + 1..)?));
        let place = match key {
            b"rbytes" => &mut usage.read.0,
            b"wbytes" => &mut usage.written.0,
            b"rios" => &mut usage.reads,
            b"wios" => &mut usage.writes,
            _ => continue,
        };
        *place = value?;
        known += 1;
    }
    (known == 4).then_some(usage)
}

/// A device as the kernel writes it: `8:0`.
pub(super) fn device_number(text: &[u8]) -> Option<DeviceNumber> {
    let at = text.iter().position(|byte| *byte == b':')?;
    let number = |part: Option<&[u8]>| u32::try_from(digits(part?)?).ok();
    Some(DeviceNumber { major: number(text.get(..at))?, minor: number(text.get(at + 1..))? })
}

/// The totals of a `*.pressure` file (accounting/psi.rst), in microseconds there:
/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=1234`. Linux 5.13 to 6.0 has no `full` for the CPU.
pub(super) fn pressure(text: &[u8]) -> Option<Pressure> {
    let total = |kind: &[u8]| {
        let line = lines(text).find(|line| words(line).next() == Some(kind))?;
        let total = words(line).find_map(|word| word.strip_prefix(b"total="))?;
        digits(total).map(Duration::from_micros)
    };
    Some(Pressure { some: total(b"some")?, full: total(b"full").unwrap_or_default() })
}

/// Bytes received and sent by all interfaces of `/proc/PID/net/dev` (proc_pid_net(5)).
pub(crate) fn traffic(text: &[u8]) -> Option<(Bytes, Bytes)> {
    let mut sum = (0u64, 0u64);
    // Two lines of headings.
    for line in lines(text).skip(2) {
        let at = line.iter().position(|byte| *byte == b':')?;
        let mut fields = words(line.get(at + 1..)?).map(digits);
        let received = fields.next()??;
        let sent = fields.nth(7)??;
        sum = (sum.0.saturating_add(received), sum.1.saturating_add(sent));
    }
    Some((Bytes(sum.0), Bytes(sum.1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_device_has_its_line() {
        let text = b"254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n8:16 \n\
                     7:0 rbytes=1 wbytes=0 rios=1 wios=0 cost.usage=5\n8:0 rbytes=12 wby";
        let found: Vec<_> = devices(text).collect();
        let expected = DeviceUsage {
            number: DeviceNumber { major: 254, minor: 0 },
            read: Bytes(4096),
            written: Bytes(8192),
            reads: 1,
            writes: 2,
        };
        assert_eq!(found.first(), Some(&expected));
        assert_eq!(found.iter().map(|one| one.number.major).collect::<Vec<_>>(), [254, 7]);
    }

    #[test]
    fn pressure_is_what_was_lost_in_all() {
        let text = b"some avg10=1.00 avg60=0.20 avg300=0.04 total=1500000\n\
                     full avg10=0.00 avg60=0.00 avg300=0.00 total=250000\n";
        let expected =
            Pressure { some: Duration::from_millis(1500), full: Duration::from_millis(250) };
        assert_eq!(pressure(text), Some(expected));
        let some = b"some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(pressure(some).map(|found| found.full), Some(Duration::ZERO));
        assert_eq!(pressure(b""), None);
    }

    #[test]
    fn traffic_adds_the_interfaces_up() {
        let text = b"Inter-|   Receive                     |  Transmit\n face |bytes    packets\n    \
                     lo:    100       1    0    0    0     0          0         0      200       1    0    0    0     0       0          0\n\
                     eth0:5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n";
        assert_eq!(traffic(text), Some((Bytes(105), Bytes(207))));
        assert_eq!(traffic(b"a\nb\n"), Some((Bytes(0), Bytes(0))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_them_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(devices(&text).count() <= text.len());
            let _pressure = pressure(&text);
            let _traffic = traffic(&text);
        }

        #[test]
        fn what_the_kernel_writes_is_read(major in 0u32..4096, minor in 0u32..1 << 20, read: u64, writes: u64) {
            let line = format!("{major}:{minor} rbytes={read} wbytes=0 rios=0 wios={writes} dbytes=0 dios=0\n");
            let found: Vec<_> = devices(line.as_bytes()).collect();
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].number.to_string(), format!("{major}:{minor}"));
            prop_assert_eq!((found[0].read, found[0].writes), (Bytes(read), writes));
        }
    }
}
