//! The objects of a scene, each drawn as one region and its parts.

use super::canvas::{Canvas, color};
use super::outline::{Outline, Pose};
use super::rng::{Rng, cos_sin};
use super::texture::Pattern;

/// Draws an object of a random kind.
pub(super) fn draw(canvas: &mut Canvas, center: [f32; 2], radius: f32, rng: &mut Rng) {
    let tilted = Pose { center, scale: radius, axis: cos_sin(rng.unit()) };
    let upright = Pose { center, scale: radius, axis: cos_sin(rng.range(-0.02, 0.02)) };
    match rng.between(0, 13) {
        0..=2 => ball(canvas, &tilted, rng),
        3 | 4 => parcel(canvas, &tilted, rng),
        5 | 6 => stone(canvas, &upright, rng),
        7 => star(canvas, &tilted, rng),
        8 => ring(canvas, &tilted, rng),
        9 => house(canvas, &upright, rng),
        10 | 11 => tree(canvas, &upright, rng),
        12 => flower(canvas, &tilted, rng),
        _ => jar(canvas, &upright, rng),
    }
}

/// A round body, sometimes with a band or a disc.
fn ball(canvas: &mut Canvas, pose: &Pose, rng: &mut Rng) {
    let radii = [1.0, rng.range(0.7, 1.0)];
    let mut surface = canvas.random_surface(pose, rng);
    surface.bulge = 0.4;
    let body = canvas.add_region(&Outline::ellipse(pose, [0.0; 2], radii), surface, None);
    let choice = rng.unit();
    let outline = if choice < 0.3 {
        Outline::rectangle(pose, [0.0, rng.range(-0.3, 0.3)], [1.2, rng.range(0.12, 0.3)], 0.0)
    } else if choice < 0.6 {
        let radius = rng.range(0.25, 0.5);
        Outline::ellipse(pose, [rng.range(-0.3, 0.3), rng.range(-0.2, 0.2)], [radius, radius * radii[1]])
    } else {
        return;
    };
    let mut surface = canvas.random_surface(pose, rng);
    surface.bulge = 0.4;
    let part = canvas.add_part(&outline, surface, body);
    if choice > 0.45 {
        let surface = canvas.random_surface(pose, rng);
        canvas.add_part(&Outline::ellipse(pose, [0.05, 0.0], [0.18; 2]), surface, part);
    }
}

/// A box, often with a lid or a strap.
fn parcel(canvas: &mut Canvas, pose: &Pose, rng: &mut Rng) {
    let half = [rng.range(0.6, 1.0), rng.range(0.4, 0.8)];
    let surface = canvas.random_surface(pose, rng);
    let corner = rng.range(0.0, 0.3);
    let body = canvas.add_region(&Outline::rectangle(pose, [0.0; 2], half, corner), surface, None);
    if rng.chance(0.4) {
        let surface = canvas.random_surface(pose, rng);
        canvas.add_part(&Outline::rectangle(pose, [0.0, -half[1]], [half[0], half[1] * 0.6], 0.0), surface, body);
    }
    if rng.chance(0.5) {
        let (at, width) = (rng.range(-0.5, 0.5) * half[0], rng.range(0.08, 0.2));
        let surface = canvas.random_surface(pose, rng);
        canvas.add_part(&Outline::rectangle(pose, [at, 0.0], [width, half[1]], 0.0), surface, body);
    }
}

/// An irregular body.
fn stone(canvas: &mut Canvas, pose: &Pose, rng: &mut Rng) {
    let (radii, wobble) = ([1.0, rng.range(0.5, 0.9)], rng.range(0.08, 0.3));
    let outline = Outline::blob(pose, [0.0; 2], radii, wobble, rng);
    let mut surface = canvas.random_surface(pose, rng);
    surface.bulge = 0.25;
    let body = canvas.add_region(&outline, surface, None);
    if rng.chance(0.3) {
        let outline = Outline::blob(pose, [rng.range(-0.4, 0.4), -0.2], [0.4, 0.3], 0.3, rng);
        let surface = canvas.random_surface(pose, rng);
        canvas.add_part(&outline, surface, body);
    }
}

/// A star or a polygon.
fn star(canvas: &mut Canvas, pose: &Pose, rng: &mut Rng) {
    let (points, inner) = (rng.between(3, 8), if rng.chance(0.5) { 1.0 } else { rng.range(0.4, 0.7) });
    let surface = canvas.random_surface(pose, rng);
    let body = canvas.add_region(&Outline::star(pose, points, inner), surface, None);
    if rng.chance(0.4) {
        let surface = canvas.random_surface(pose, rng);
        let small = Pose { scale: pose.scale * 0.5, ..*pose };
        canvas.add_part(&Outline::star(&small, points, inner), surface, body);
    }
}

/// A ring; its hole shows what is behind it.
fn ring(canvas: &mut Canvas, pose: &Pose, rng: &mut Rng) {
    let (outer, inner) = ([1.0, rng.range(0.7, 1.0)], rng.range(0.4, 0.75));
    let hole = Outline::ellipse(pose, [0.0; 2], outer.map(|radius| radius * inner));
    let surface = canvas.random_surface(pose, rng);
    canvas.add_region(&Outline::ellipse(pose, [0.0; 2], outer).with_hole(hole), surface, None);
}

/// A house: wall, roof, windows and a door.
fn house(canvas: &mut Canvas, pose: &Pose, rng: &mut Rng) {
    let whole = canvas.add_group();
    let (half, top) = (rng.range(0.5, 0.9), rng.range(-0.4, 0.1));
    let mut wall_surface = canvas.random_surface(pose, rng);
    if rng.chance(0.4) {
        wall_surface.pattern = Pattern::Bricks;
        wall_surface.pose = *pose;
        wall_surface.frequency = 9.0;
    }
    let wall_outline = Outline::rectangle(pose, [0.0, (1.0 + top) / 2.0], [half, (1.0 - top) / 2.0], 0.0);
    let wall = canvas.add_region(&wall_outline, wall_surface, Some(whole));
    let roof_surface = canvas.random_surface(pose, rng);
    let ridge = rng.range(0.0, 0.6) * half;
    let eaves = half + 0.12;
    let roof = [[-eaves, top], [-ridge, top - 0.55], [ridge, top - 0.55], [eaves, top]];
    canvas.add_region(&Outline::posed(pose, &roof), roof_surface, Some(whole));
    let columns = rng.between(2, 4);
    let glass = canvas.surface(pose, Pattern::Gradient, [color(0.58, 0.5, 0.35), color(0.55, 0.2, 0.9)], rng);
    for column in 0..columns {
        let x = half * ((2 * column + 1) as f32 / columns as f32 - 1.0);
        let window = Outline::rectangle(pose, [x, top + 0.25], [half * 0.6 / columns as f32, 0.14], 0.0);
        canvas.add_part(&window, glass.clone(), wall);
    }
    let door = canvas.random_surface(pose, rng);
    let x = rng.range(-0.5, 0.5) * half;
    canvas.add_part(&Outline::rectangle(pose, [x, 0.9], [0.13, 0.38], 0.03), door, wall);
}

/// A tree: trunk and crown, sometimes with fruit.
fn tree(canvas: &mut Canvas, pose: &Pose, rng: &mut Rng) {
    let whole = canvas.add_group();
    let bark = [color(0.07, 0.5, 0.35), color(0.09, 0.45, 0.5)];
    let mut surface = canvas.surface(pose, Pattern::Clouds, bark, rng);
    surface.frequency = 3.0;
    let trunk = [[-0.1, 0.0], [0.1, 0.0], [0.16, 1.0], [-0.16, 1.0]];
    canvas.add_region(&Outline::posed(pose, &trunk), surface, Some(whole));
    let hue = rng.range(0.12, 0.42);
    let mut surface = canvas.surface(pose, Pattern::Clouds, [color(hue, 0.7, 0.35), color(hue - 0.04, 0.65, 0.7)], rng);
    surface.frequency = rng.range(1.5, 4.0);
    surface.bulge = 0.25;
    let fruit = canvas.surface(pose, Pattern::Plain, [color(hue - 0.3, 0.8, 0.85); 2], rng);
    let crown_outline = if rng.chance(0.3) {
        Outline::posed(
            pose,
            &[[0.0, -1.0], [0.25, -0.4], [0.17, -0.4], [0.55, 0.35], [-0.55, 0.35], [-0.17, -0.4], [-0.25, -0.4]],
        )
    } else {
        Outline::blob(pose, [0.0, -0.35], [0.7, 0.65], 0.25, rng)
    };
    let crown = canvas.add_region(&crown_outline, surface, Some(whole));
    if rng.chance(0.3) {
        for _ in 0..rng.between(2, 5) {
            let at = [rng.range(-0.4, 0.4), rng.range(-0.7, 0.1)];
            canvas.add_part(&Outline::ellipse(pose, at, [0.09; 2]), fruit.clone(), crown);
        }
    }
}

/// A flower: petals around a disc.
fn flower(canvas: &mut Canvas, pose: &Pose, rng: &mut Rng) {
    let whole = canvas.add_group();
    let petals = rng.between(5, 8);
    let surface = canvas.random_surface(pose, rng);
    for petal in 0..petals {
        let axis = cos_sin(petal as f32 / petals as f32);
        let center = pose.place(axis.map(|a| a * 0.6));
        // The petal's long axis points away from the centre.
        let [[c, s], [pc, ps]] = [pose.axis, axis];
        let own = Pose { center, scale: pose.scale, axis: [c * pc - s * ps, s * pc + c * ps] };
        let mut surface = surface.clone();
        surface.light = [rng.range(-0.3, 0.3), rng.range(-0.3, 0.3)];
        canvas.add_region(&Outline::ellipse(&own, [0.0; 2], [0.4, 1.5 / petals as f32]), surface, Some(whole));
    }
    let mut disc = canvas.random_surface(pose, rng);
    disc.bulge = 0.8;
    canvas.add_region(&Outline::ellipse(pose, [0.0; 2], [0.3; 2]), disc, Some(whole));
}

/// A jar: a body with a neck, a lid and often a label.
fn jar(canvas: &mut Canvas, pose: &Pose, rng: &mut Rng) {
    let whole = canvas.add_group();
    let half = rng.range(0.35, 0.6);
    let neck = half * rng.range(0.3, 0.9);
    let mut surface = canvas.random_surface(pose, rng);
    surface.light = [rng.range(0.3, 0.6), 0.0];
    let points = [[-half, 1.0], [-half, -0.3], [-neck, -0.65], [neck, -0.65], [half, -0.3], [half, 1.0]];
    let body = canvas.add_region(&Outline::posed(pose, &points), surface, Some(whole));
    let lid = canvas.random_surface(pose, rng);
    canvas.add_region(&Outline::rectangle(pose, [0.0, -0.78], [neck + 0.05, 0.15], 0.05), lid, Some(whole));
    if rng.chance(0.7) {
        let label = canvas.random_surface(pose, rng);
        canvas.add_part(
            &Outline::rectangle(pose, [0.0, rng.range(0.1, 0.5)], [half, rng.range(0.15, 0.4)], 0.0),
            label,
            body,
        );
    }
}
